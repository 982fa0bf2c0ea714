/** Where sequences of n tokens occurred in a growing text: found by hash, confirmed by comparing. */
import { LinnetError } from '../../../errors.ts';

/** Occurrences looked at per length: most were found by their hash rightly, so few are needed. */
const visitsPerLength = 16;

/** An index of a text's n-grams, for all n from `shortest` to `longest`. Grows with the text, by a constant per token. */
export class NgramIndex {
  readonly #shortest: number;
  readonly #longest: number;
  /** Per n: the last end position of each hash. */
  readonly #last: readonly Map<number, number>[];
  /** Per n: for every end position the one before it with the same hash, −1 for none; room to spare. */
  readonly #before: Int32Array[];
  /** End positions below this are in the index. */
  #indexed = 0;

  /** @throws LinnetError `CONFIG` if the shortest is longer than the longest */
  constructor(shortest: number, longest: number) {
    if (shortest > longest) {
      throw new LinnetError('CONFIG', `the shortest n-gram is ${shortest} tokens, the longest ${longest}`);
    }
    this.#shortest = shortest;
    this.#longest = longest;
    const lengths = longest - shortest + 1;
    this.#last = Array.from({ length: lengths }, () => new Map<number, number>());
    this.#before = Array.from({ length: lengths }, () => new Int32Array(256));
  }

  /** Indexes the new tokens of the text except the last: nothing follows that yet. */
  extend(tokens: readonly number[]): void {
    const end = tokens.length - 1;
    for (let position = this.#indexed; position < end; position++) {
      for (let n = this.#shortest; n <= this.#longest && n <= position + 1; n++) this.#insert(tokens, position, n);
    }
    this.#indexed = Math.max(this.#indexed, end);
  }

  /**
   * End positions of earlier occurrences of the text's last tokens: the longest matches first, of equal ones the latest
   * first, each position once.
   */
  occurrences(tokens: readonly number[], count: number): number[] {
    const found = new Set<number>();
    const end = tokens.length - 1;
    for (let n = Math.min(this.#longest, tokens.length); n >= this.#shortest && found.size < count; n--) {
      const slot = n - this.#shortest;
      let position = this.#last[slot].get(hashOf(tokens, end, n)) ?? -1;
      for (let visits = 0; position >= 0 && visits < visitsPerLength && found.size < count; visits++) {
        if (isSame(tokens, position, end, n)) found.add(position);
        position = this.#before[slot][position];
      }
    }
    return [...found];
  }

  #insert(tokens: readonly number[], position: number, n: number): void {
    const slot = n - this.#shortest;
    if (position >= this.#before[slot].length) {
      const grown = new Int32Array(2 * this.#before[slot].length);
      grown.set(this.#before[slot]);
      this.#before[slot] = grown;
    }
    const hash = hashOf(tokens, position, n);
    this.#before[slot][position] = this.#last[slot].get(hash) ?? -1;
    this.#last[slot].set(hash, position);
  }
}

/** FNV-1a over the n tokens that end at a position, a token at a time. */
function hashOf(tokens: readonly number[], end: number, n: number): number {
  let hash = 0x811c9dc5;
  for (let at = end - n + 1; at <= end; at++) hash = Math.imul(hash ^ tokens[at], 0x01000193);
  return hash;
}

function isSame(tokens: readonly number[], a: number, b: number, n: number): boolean {
  for (let i = 0; i < n; i++) if (tokens[a - i] !== tokens[b - i]) return false;
  return true;
}
