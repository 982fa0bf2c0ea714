/**
 * Incremental decoding: turning tokens into text as they are generated.
 *
 * The text of a token depends on its neighbours: a character may span several tokens, and a decoder may strip the
 * space before the first word. So tokens are decoded in a window that reaches back over earlier ones, and only the text
 * that the window gains is returned. A trailing U+FFFD is held back, since it may be the first bytes of a character; a
 * UTF-8 decoder never revises more than that one character.
 */
import type { Tokenizer } from './text-tokens.ts';

/** Window sizes in tokens. A character has at most four bytes; the window is longer than that to be shortened less often. */
const keptTokens = 4;
const longestWindow = 12;

/**
 * Decodes a growing list of tokens. The texts returned by `push`, then `flush`, joined, equal `decode` of all tokens
 * (after the text of `context`).
 */
export class TextStream {
  readonly #tokenizer: Tokenizer;
  #window: number[] = [];
  /** How many UTF-16 units of the window's text have been given out. */
  #emitted = 0;

  /**
   * @param context tokens before the stream (the prompt), whose text is not given out again. Without it the first
   * token is taken for the start of a text, and a leading space may be stripped.
   */
  constructor(tokenizer: Tokenizer, context: ArrayLike<number> = []) {
    this.#tokenizer = tokenizer;
    for (let at = context.length - 1; at >= 0 && this.#window.length < longestWindow; at--) {
      if (!tokenizer.specialIds.has(context[at])) this.#window.unshift(context[at]);
    }
    this.#take(tokenizer.decode(this.#window));
  }

  /** Adds a token and returns the text that has become certain, often none. */
  push(id: number): string {
    // Tokens without text would only push the useful context out of the window.
    if (!this.#tokenizer.specialIds.has(id)) this.#window.push(id);
    let text = this.#tokenizer.decode(this.#window);
    if (this.#window.length > longestWindow) {
      const shorter = this.#window.slice(-keptTokens);
      const shorterText = this.#tokenizer.decode(shorter);
      // The two texts end alike, so the part not given out is of the same length in both. Not so if all of the shorter
      // one is stripped away or belongs to that part: then the window stays long for now.
      const pending = text.length - this.#emitted;
      if (pending < shorterText.length) {
        this.#window = shorter;
        this.#emitted = shorterText.length - pending;
        text = shorterText;
      }
    }
    return this.#take(text);
  }

  /** Ends the stream: the text still held back. */
  flush(): string {
    return this.#take(this.#tokenizer.decode(this.#window), true);
  }

  /** The part of the window's text that has not been given out, without a trailing U+FFFD: further bytes may make it a character. */
  #take(text: string, isWhole = false): string {
    const end = !isWhole && text.endsWith('\ufffd') ? text.length - 1 : text.length;
    if (end <= this.#emitted) return '';
    const gained = text.slice(this.#emitted, end);
    this.#emitted = end;
    return gained;
  }
}
