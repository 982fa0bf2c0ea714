/**
 * Reads programming-language values from a growing text and turns them into JSON: strings in several kinds of quotes, words,
 * numbers, lists and objects, whose keys may be bare. A value cut by the end of a piece is read with the next one.
 */

/** How a language writes values. */
export interface LiteralSyntax {
  /** Marks around strings with backslash escapes. */
  readonly quotes: readonly string[];
  /** Marks around strings without escapes. */
  readonly rawQuotes?: readonly string[];
  /** Words that JSON spells differently. */
  readonly words?: ReadonlyMap<string, string>;
  /** Mark between a member's name and value at the outermost level. */
  readonly equals: ':' | '=';
  /** Mark after the last member at the outermost level. */
  readonly close: '}' | ')';
  /** Whether string values at the outermost level escape only double quotes. */
  readonly isVerbatim?: (member: string) => boolean;
}

interface Level {
  readonly close: string;
  readonly equals: string | undefined;
  /** The next part: a key, a value, or a separator. */
  next: 'key' | 'value' | 'comma';
  count: number;
}

interface OpenString {
  readonly close: string;
  readonly reading: 'escapes' | 'verbatim' | 'raw';
  /** Whether it is a key. */
  readonly isKey: boolean;
}

/** JSON and Python escapes, by letter. */
const escapes: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  b: '\b',
  f: '\f',
  v: '\v',
  a: '\u0007',
  '0': '\0',
  '\n': '',
  '\\': '\\',
  '"': '"',
  "'": "'",
  '/': '/',
};
const codeLengths: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };
const lists: Readonly<Record<string, string>> = { '[': ']', '(': ')' };
const delimiters = /[\s,:=()[\]{}"'<]/;
const jsonWord = /^(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)$/;

/** One call's members, from the opening mark to the closing one. */
export class LiteralReader {
  readonly #syntax: LiteralSyntax;
  readonly #quotes: readonly string[];
  readonly #levels: Level[];
  #string: OpenString | undefined;
  #key = '';
  #json = '';
  #begun = false;
  #ended = false;

  constructor(syntax: LiteralSyntax) {
    this.#syntax = syntax;
    this.#quotes = [...syntax.quotes, ...(syntax.rawQuotes ?? [])];
    this.#levels = [{ close: syntax.close, equals: syntax.equals, next: 'key', count: 0 }];
  }

  /** See `ArgumentReader.read`. */
  read(text: string): { readonly taken: number; readonly json: string; readonly ended: boolean } {
    this.#json = this.#begun ? '' : '{';
    this.#begun = true;
    let taken = 0;
    for (let step = 1; step > 0 && !this.#ended; taken += step) {
      if (taken === text.length) break;
      step = this.#string === undefined ? this.#part(text, taken) : this.#inString(text, taken, this.#string);
    }
    return { taken, json: this.#json, ended: this.#ended };
  }

  /** Takes the part at a place; returns its length, 0 if more of the text must arrive first. */
  #part(text: string, at: number): number {
    const level = this.#levels[this.#levels.length - 1];
    const letter = text[at];
    if (/\s/.test(letter)) return 1;
    if (letter === level.close) return this.#close(level);
    if (letter === ',') {
      level.next = level.equals === undefined ? 'value' : 'key';
      return 1;
    }
    if (letter === level.equals && level.next === 'value') return 1;
    const quote = this.#quotes.find((mark) => text.startsWith(mark, at));
    if (quote !== undefined) return this.#open(level, quote);
    if (this.#quotes.some((mark) => mark.startsWith(text.slice(at)))) return 0;
    if (level.next === 'value' && (letter === '{' || letter in lists)) {
      this.#comma(level);
      this.#json += letter === '{' ? '{' : '[';
      const close = lists[letter] ?? '}';
      const equals = letter === '{' ? ':' : undefined;
      this.#levels.push({ close, equals, next: equals === undefined ? 'value' : 'key', count: 0 });
      return 1;
    }
    return this.#word(level, text, at);
  }

  #close(level: Level): number {
    const isList = level.equals === undefined;
    this.#json += isList ? ']' : '}';
    this.#levels.pop();
    this.#ended = this.#levels.length === 0;
    return 1;
  }

  /** Adds JSON's comma before a value or a key that is not the first; the level then expects what follows it. */
  #comma(level: Level): void {
    if (level.next === 'key' || level.equals === undefined) {
      if (level.count++ > 0) this.#json += ', ';
    }
    level.next = level.next === 'key' ? 'value' : 'comma';
  }

  #open(level: Level, quote: string): number {
    const isKey = level.next === 'key';
    this.#comma(level);
    this.#json += '"';
    const isOutermost = this.#levels.length === 1;
    const isRaw = this.#syntax.rawQuotes?.includes(quote) === true;
    const isVerbatim = isOutermost && !isKey && this.#syntax.isVerbatim?.(this.#key) === true;
    this.#string = { close: quote, reading: isRaw ? 'raw' : isVerbatim ? 'verbatim' : 'escapes', isKey };
    if (isKey) this.#key = '';
    return quote.length;
  }

  #word(level: Level, text: string, at: number): number {
    let end = at;
    while (end < text.length && !delimiters.test(text[end])) end++;
    if (end === text.length) return 0;
    if (end === at) return 1; // a mark without meaning here
    const word = text.slice(at, end);
    const isKey = level.next === 'key';
    this.#comma(level);
    if (isKey) {
      if (this.#levels.length === 1) this.#key = word;
      this.#json += `${JSON.stringify(word)}: `;
    } else {
      const written = this.#syntax.words?.get(word) ?? word;
      this.#json += jsonWord.test(written) ? written : JSON.stringify(written);
    }
    return end - at;
  }

  #inString(text: string, at: number, { close, reading, isKey }: OpenString): number {
    if (text.startsWith(close, at)) {
      this.#json += isKey ? '": ' : '"';
      this.#string = undefined;
      return close.length;
    }
    if (reading !== 'raw' && text[at] === '\\') return this.#escape(text, at, reading);
    if (close.startsWith(text.slice(at))) return 0;
    let end = at + 1;
    while (end < text.length && text[end] !== close[0] && (reading === 'raw' || text[end] !== '\\')) end++;
    if (end === text.length && /[\ud800-\udbff]/.test(text[end - 1])) end--;
    this.#add(text.slice(at, end));
    return end - at;
  }

  /** A backslash and the character after it. */
  #escape(text: string, at: number, reading: 'escapes' | 'verbatim'): number {
    const letter = text[at + 1] ?? '';
    const isHalf = /[\ud800-\udbff]/.test(letter);
    if (letter === '' || (isHalf && at + 2 === text.length)) return 0;
    if (isHalf) {
      this.#add('\\');
      return 1;
    }
    if (reading === 'verbatim') {
      this.#add(letter === '"' ? letter : `\\${letter}`);
      return 2;
    }
    if (letter in codeLengths) {
      const digits = text.slice(at + 2, at + 2 + codeLengths[letter]);
      const isCode = /^[0-9a-fA-F]*$/.test(digits);
      if (isCode && digits.length < codeLengths[letter] && at + 2 + digits.length === text.length) return 0;
      const point = Number.parseInt(digits, 16);
      if (isCode && digits.length === codeLengths[letter] && point <= 0x10ffff) {
        this.#add(String.fromCodePoint(point));
        return 2 + digits.length;
      }
    }
    this.#add(escapes[letter] ?? `\\${letter}`);
    return 2;
  }

  #add(content: string): void {
    if (this.#string?.isKey === true) this.#key += content;
    // Halves of surrogate pairs are written as escapes, which join.
    this.#json += JSON.stringify(content).slice(1, -1);
  }
}
