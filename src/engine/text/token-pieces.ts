/** Single tokens' text, for log-probabilities. */
import { decodingInside } from '../../tokenizer/token-bytes.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

/** Tokens' texts as they are inside a text; made on demand, then kept. */
export class TokenPieces {
  readonly #tokenizer: Tokenizer;
  readonly #names: ReadonlyMap<number, string>;
  readonly #pieces = new Map<number, string>();
  readonly #innerText: ReturnType<typeof decodingInside>;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
    this.#names = new Map([...(tokenizer.specialNames ?? [])].map(([name, id]) => [id, name]));
    this.#innerText = decodingInside(tokenizer);
  }

  /** A token's characters, or a special token's name; `token_id:N` for part of a character, which has no text of its own. */
  of(id: number): string {
    const known = this.#pieces.get(id);
    if (known !== undefined) return known;
    const made = this.#make(id);
    this.#pieces.set(id, made);
    return made;
  }

  /** A token's UTF-8 bytes, even if they are only part of a character; null if the tokenizer does not know. */
  bytesOf(id: number): number[] | null {
    const text = this.of(id);
    if (text !== idName(id)) return [...new TextEncoder().encode(text)];
    const bytes = this.#tokenizer.bytesOf?.(id);
    return bytes === undefined ? null : [...bytes];
  }

  #make(id: number): string {
    const name = this.#names.get(id);
    if (name !== undefined) return name;
    const text = this.#innerText([id]);
    return text.includes('\ufffd') ? idName(id) : text;
  }
}

function idName(id: number): string {
  return `token_id:${id}`;
}
