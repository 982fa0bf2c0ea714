/**
 * The Brown corpus as plain text. Its files hold a sentence a line, every word followed by its part of speech
 * (`The/at jury/nn said/vbd ,/, …`), with punctuation as words of its own. This puts the text together again: not
 * always as it was printed, since the tagging lost the spacing, but as English is written.
 */

interface Word {
  readonly word: string;
  readonly tag: string;
}

/** Marks written close to the word before them. */
const closing = new Set([',', '.', ';', ':', '?', '!', ')', ']', '}', '”']);
/** Marks written close to the word after them. */
const opening = new Set(['(', '[', '{', '“']);
/** Marks the corpus writes twice where they end a clause (`?/. ?/.`). */
const doubled = new Set([';', ':', '?', '!']);
/** Marks that go before a closing quotation mark. The corpus has them behind it. */
const insideQuotation = new Set([',', '.', '?', '!']);

/** Plain text of a tagged file: paragraphs with an empty line between them, headlines as paragraphs. */
export function brownText(tagged: string): string {
  const paragraphs: string[] = [];
  for (const block of tagged.split(/\n\s*\n/)) {
    let sentences: string[] = [];
    const finish = (): void => {
      if (sentences.length > 0) paragraphs.push(sentences.join(' '));
      sentences = [];
    };
    for (const line of block.split('\n')) {
      const words = parseWords(line);
      const sentence = joinWords(words);
      if (sentence === '') continue;
      const headline = words.every(({ tag }) => tag.endsWith('-hl'));
      if (headline) finish();
      sentences.push(sentence);
      if (headline) finish();
    }
    finish();
  }
  return `${paragraphs.join('\n\n')}\n`;
}

/** Splits `word/tag`; a word may hold slashes, a tag never does. */
function parseWords(line: string): Word[] {
  const words: Word[] = [];
  for (const item of line.split(/\s+/)) {
    const slash = item.lastIndexOf('/');
    // Words with two asterisks are codes of symbols that could not be punched.
    if (slash > 0 && !item.startsWith('**')) words.push({ word: item.slice(0, slash), tag: item.slice(slash + 1) });
  }
  return words;
}

function joinWords(words: readonly Word[]): string {
  const marks: string[] = [];
  let inSingleQuotes = false;
  for (const { word } of words) {
    let mark = word;
    if (word === '``') mark = '“';
    else if (word === "''") mark = '”';
    else if (word === "'") {
      mark = inSingleQuotes ? '’' : '‘';
      inSingleQuotes = !inSingleQuotes;
    }
    const last = marks.at(-1);
    if (doubled.has(mark) && (mark === last || (last === '”' && marks.at(-2) === mark))) continue;
    if (mark === '.' && last?.endsWith('.')) continue; // the full stop of an abbreviation ends the sentence too
    if (insideQuotation.has(mark) && last === '”') marks.splice(-1, 0, mark);
    else marks.push(mark);
  }
  let text = '';
  let glue = true; // nothing before the first word
  for (const mark of marks) {
    if (!glue && !closing.has(mark) && mark !== '’') text += ' ';
    text += plain(mark);
    glue = opening.has(mark) || mark === '‘';
  }
  return text;
}

/** Quotation marks as typed; the curly ones only distinguish opening from closing. */
function plain(mark: string): string {
  if (mark === '“' || mark === '”') return '"';
  return mark === '‘' || mark === '’' ? "'" : mark;
}
