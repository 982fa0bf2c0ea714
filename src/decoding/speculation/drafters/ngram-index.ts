/** Finds where sequences of n tokens occurred, in a growing text or in consecutive texts: by hash, confirmed by comparison. */
import { LinnetError } from '../../../errors.ts';

/** Positions are int32. */
const mostPositions = 2 ** 31 - 1;

export interface NgramOptions {
  /** Tokens to keep, a power of two: the oldest go first. Default: all. */
  readonly most?: number;
  /** Occurrences checked per length: most hash matches are right, so few are enough. Default 16. */
  readonly visits?: number;
}

/** Tokens, and where n-grams of some lengths end. Grows by a constant per token: 4 bytes plus 8 per length. */
export class NgramIndex {
  /** Ascending. */
  readonly #lengths: readonly number[];
  readonly #most: number;
  readonly #visits: number;
  /** The last tokens: position p's in slot p modulo the capacity. */
  #tokens = new Int32Array(256);
  /** Per length: the last end position by hash, −1 for none. */
  #last: readonly Int32Array[] = [];
  /** Per length and slot: the previous end position with the same hash, −1 for none. */
  #before: readonly Int32Array[] = [];
  #end = 0;

  /** @throws LinnetError `CONFIG` without a length */
  constructor(lengths: readonly number[], { most = 2 ** 30, visits = 16 }: NgramOptions = {}) {
    if (lengths.length === 0) throw new LinnetError('CONFIG', 'an index of n-grams needs at least one length');
    this.#lengths = [...lengths].sort((a, b) => a - b);
    this.#most = most;
    this.#visits = visits;
    this.#index();
  }

  /** The position after the last token. */
  get end(): number {
    return this.#end;
  }

  get bytes(): number {
    return this.#tokens.byteLength * (1 + 2 * this.#lengths.length);
  }

  /** The token at a kept position below `end`. */
  at(position: number): number {
    return this.#tokens[position & (this.#tokens.length - 1)];
  }

  /**
   * Adds the new tokens of a growing text.
   * @param source the text that the model reads, if it writes another. It comes first, ended by −1, which is no token
   */
  extend(text: readonly number[], source?: Int32Array): void {
    if (source !== undefined && this.#end === 0) for (const token of [...source, -1]) this.push(token);
    const start = source === undefined ? 0 : source.length + 1;
    for (let at = this.#end - start; at < text.length; at++) this.push(text[at]);
  }

  /** The token at a kept position. Past its end the text continues in `path`, and after that with −1. */
  following(position: number, path: readonly number[]): number {
    return position < this.#end ? this.at(position) : (path[position - this.#end] ?? -1);
  }

  push(token: number): void {
    if (this.#end === mostPositions) this.#end = 0;
    const capacity = this.#tokens.length;
    const grows = this.#end === capacity && capacity < this.#most;
    if (grows) {
      const grown = new Int32Array(2 * capacity);
      grown.set(this.#tokens);
      this.#tokens = grown;
    }
    this.#tokens[this.#end & (this.#tokens.length - 1)] = token;
    this.#end++;
    if (grows || this.#end === 1) this.#index();
    else this.#insert(this.#end - 1);
  }

  /**
   * End positions of earlier occurrences of a text's last tokens, each followed by a token: longest matches first, the
   * latest first on ties, each position once.
   */
  occurrences(text: readonly number[], count: number): number[] {
    const matches = new Set<number>();
    const hashes: number[] = [];
    let hash = seed;
    for (let n = 1; n <= text.length && hashes.length < this.#lengths.length; n++) {
      hash = hashOn(hash, text[text.length - n]);
      if (n === this.#lengths[hashes.length]) hashes.push(hash);
    }
    const first = this.#first;
    const mask = this.#tokens.length - 1;
    for (let slot = hashes.length - 1; slot >= 0 && matches.size < count; slot--) {
      const n = this.#lengths[slot];
      let position = this.#last[slot][placeOf(hashes[slot], mask)];
      for (let visits = 0; position >= first && visits < this.#visits && matches.size < count; visits++) {
        if (position < this.#end - 1 && this.matched(position, text, n) === n) matches.add(position);
        position = this.#before[slot][position & mask];
      }
    }
    return [...matches];
  }

  /** How many tokens up to a position, at most `most`, equal the text's last ones. */
  matched(position: number, text: readonly number[], most: number): number {
    const longest = Math.min(most, text.length, position + 1 - this.#first);
    let n = 0;
    while (n < longest && this.at(position - n) === text[text.length - 1 - n]) n++;
    return n;
  }

  /** The position of the oldest kept token. */
  get #first(): number {
    return Math.max(0, this.#end - this.#tokens.length);
  }

  /** Rebuilds the tables for all tokens. */
  #index(): void {
    const tables = (): Int32Array[] => this.#lengths.map(() => new Int32Array(this.#tokens.length).fill(-1));
    this.#last = tables();
    this.#before = tables();
    for (let position = 0; position < this.#end; position++) this.#insert(position);
  }

  #insert(position: number): void {
    const mask = this.#tokens.length - 1;
    let hash = seed;
    let slot = 0;
    for (let n = 1; n <= position + 1 && slot < this.#lengths.length; n++) {
      hash = hashOn(hash, this.at(position - n + 1));
      if (n !== this.#lengths[slot]) continue;
      const place = placeOf(hash, mask);
      this.#before[slot][position & mask] = this.#last[slot][place];
      this.#last[slot++][place] = position;
    }
  }
}

/** FNV-1a over an n-gram's tokens, last first. */
const seed = 0x811c9dc5;
function hashOn(hash: number, token: number): number {
  return Math.imul(hash ^ token, 0x01000193);
}

function placeOf(hash: number, mask: number): number {
  return (hash ^ (hash >>> 15)) & mask;
}
