/**
 * Incremental decoding: turns tokens into text as they are generated.
 *
 * A token's text depends on its neighbors: a character may span several tokens, and a decoder may strip the space before the
 * first word. So tokens are decoded in a window that reaches back over earlier ones, and only the text that the window gains
 * is returned. A trailing U+FFFD is held back, since it may be the first bytes of a character; a UTF-8 decoder never revises
 * more than that one character.
 */
import type { Tokenizer } from './text-tokens.ts';

/** Window sizes in tokens. A character has at most four bytes; the window is longer, so that it is shortened less often. */
const keptTokens = 4;
const longestWindow = 12;

/**
 * Decodes a growing list of tokens. The texts returned by `push`, then `flush`, joined, equal `decode` of all tokens
 * (after the text of `context`).
 */
export class TextStream {
  readonly #tokenizer: Tokenizer;
  #window: number[] = [];
  /** UTF-16 units of the window's text already returned. */
  #emitted = 0;

  /**
   * @param context tokens before the stream (the prompt); their text is not returned again. Without it the first token counts
   *   as the start of a text, and a leading space may be stripped.
   */
  constructor(tokenizer: Tokenizer, context: ArrayLike<number> = []) {
    this.#tokenizer = tokenizer;
    for (let at = context.length - 1; at >= 0 && this.#window.length < longestWindow; at--) {
      if (!tokenizer.specialIds.has(context[at])) this.#window.unshift(context[at]);
    }
    this.#take(tokenizer.decode(this.#window));
  }

  /** Adds a token and returns the text now certain, often none. */
  push(id: number): string {
    // Tokens without text would only push useful context out of the window.
    if (!this.#tokenizer.specialIds.has(id)) this.#window.push(id);
    let text = this.#tokenizer.decode(this.#window);
    if (this.#window.length > longestWindow) {
      const shorter = this.#window.slice(-keptTokens);
      const shorterText = this.#tokenizer.decode(shorter);
      // Both texts end alike, so the unreturned part has the same length in both, unless all of the shorter one is stripped
      // away or belongs to that part: then the window stays long for now.
      const pending = text.length - this.#emitted;
      if (pending < shorterText.length) {
        this.#window = shorter;
        this.#emitted = shorterText.length - pending;
        text = shorterText;
      }
    }
    return this.#take(text);
  }

  /** Ends the stream and returns the text still held back. */
  flush(): string {
    return this.#take(this.#tokenizer.decode(this.#window), true);
  }

  /** The window's text not yet returned, without a trailing U+FFFD: further bytes may make it a character. */
  #take(text: string, isWhole = false): string {
    const end = !isWhole && text.endsWith('\ufffd') ? text.length - 1 : text.length;
    if (end <= this.#emitted) return '';
    const gained = text.slice(this.#emitted, end);
    this.#emitted = end;
    return gained;
  }
}
