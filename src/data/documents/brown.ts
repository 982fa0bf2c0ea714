/**
 * The Brown corpus as plain text. Its files hold one sentence a line, each word followed by its part of speech (`The/at
 * jury/nn said/vbd ,/, …`), punctuation as separate words. This rejoins the text as English is written, not always as
 * printed: the tagging lost the spacing.
 */

interface Word {
  readonly word: string;
  readonly tag: string;
}

/** Marks that attach to the word before them. */
const closing = new Set([',', '.', ';', ':', '?', '!', ')', ']', '}', '”']);
/** Marks that attach to the word after them. */
const opening = new Set(['(', '[', '{', '“']);
/** Marks the corpus doubles at the end of a clause (`?/. ?/.`). */
const doubled = new Set([';', ':', '?', '!']);
/** Marks that belong before a closing quotation mark; the corpus puts them after it. */
const insideQuotation = new Set([',', '.', '?', '!']);

/** A tagged file's plain text: paragraphs, headlines included, separated by empty lines. */
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
    // Words with two asterisks encode symbols that could not be punched.
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
    if (mark === '.' && last?.endsWith('.')) continue; // an abbreviation's full stop also ends the sentence
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

/** Typed quotation marks; the curly ones only tell opening from closing. */
function plain(mark: string): string {
  if (mark === '“' || mark === '”') return '"';
  return mark === '‘' || mark === '’' ? "'" : mark;
}
