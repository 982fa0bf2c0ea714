/**
 * States of prefixes that may recur: shared system prompts, earlier turns of a chat, a repeated prompt.
 *
 * An entry's key is a running SHA-256 over a salt and the token ids, digested at the lengths that have entries: a chain, so
 * that one pass over a prompt looks up all of its prefixes. The salt separates a server's users, whose prompts response times
 * would otherwise give away.
 */
import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';

interface Entry {
  readonly state: SequenceState;
  readonly salt: string;
}

/** Prefixes that other servers have read. */
export interface SharedPrefixes {
  /** The state of the longest known prefix longer than `above` and shorter than `below`. Never fails. */
  find(salt: string, tokens: readonly number[], above: number, below: number): Promise<SequenceState | undefined>;
  /** Shares a state, which must no longer change; when there is time, ignoring failures. */
  add(salt: string, tokens: readonly number[], state: SequenceState): void;
}

export class PrefixCache {
  /** Most bytes to hold; 0 keeps nothing. */
  readonly maxBytes: number;
  readonly #entries: LRUCache<string, Entry>;
  /** Other servers' prefixes. */
  readonly shared: SharedPrefixes | undefined;
  /** Per salt, the number of entries of each length. */
  readonly #lengths = new Map<string, Map<number, number>>();

  /**
   * @param maxBytes most bytes of states to keep; the least recently used go first; 0 keeps none
   * @param shared prefixes shared with other servers
   */
  constructor(maxBytes: number, shared?: SharedPrefixes) {
    this.maxBytes = maxBytes;
    this.shared = shared;
    this.#entries = new LRUCache<string, Entry>({
      maxSize: Math.max(1, maxBytes),
      dispose: ({ state, salt }) => {
        this.#count(salt, state.length, -1);
      },
    });
  }

  /** Bytes of the states held. */
  get bytes(): number {
    return this.#entries.calculatedSize;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** A copy of the state of a prefix that another server has read, if longer than `above`. */
  async fetch(salt: string, tokens: readonly number[], above: number): Promise<SequenceState | undefined> {
    const state = await this.shared?.find(salt, tokens, above, tokens.length);
    if (state !== undefined) this.add(salt, tokens, state);
    return state?.fork();
  }

  /** Keeps a copy of a state, and shares it with other servers. */
  keep(salt: string, tokens: readonly number[], state: SequenceState): void {
    const copy = state.fork();
    if (this.add(salt, tokens, copy)) this.shared?.add(salt, tokens, copy);
  }

  /**
   * A copy of the state for the longest cached prefix of `tokens`.
   * @param below the prefix must be shorter than this
   */
  find(salt: string, tokens: readonly number[], below: number): SequenceState | undefined {
    const lengths: number[] = [];
    for (const length of this.#lengths.get(salt)?.keys() ?? []) if (length < below) lengths.push(length);
    lengths.sort((a, b) => a - b);
    for (const key of chainKeys(salt, tokens, lengths).reverse()) {
      const entry = this.#entries.get(key);
      if (entry !== undefined) return entry.state.fork();
    }
    return undefined;
  }

  /** Keeps a state that has read the first `state.length` tokens. Returns whether it is new: the cache then owns it. */
  add(salt: string, tokens: readonly number[], state: SequenceState): boolean {
    if (state.length === 0 || state.bytes > this.maxBytes) return false;
    const [key] = chainKeys(salt, tokens, [state.length]);
    if (this.#entries.get(key) !== undefined) return false;
    this.#count(salt, state.length, 1);
    this.#entries.set(key, { state, salt }, { size: Math.max(1, state.bytes) });
    return true;
  }

  #count(salt: string, length: number, change: number): void {
    const lengths = this.#lengths.get(salt) ?? new Map<number, number>();
    const count = (lengths.get(length) ?? 0) + change;
    if (count > 0) lengths.set(length, count);
    else lengths.delete(length);
    if (lengths.size > 0) this.#lengths.set(salt, lengths);
    else this.#lengths.delete(salt);
  }
}

/** Keys of a text's prefixes. @param lengths ascending, none beyond the text */
export function chainKeys(salt: string, tokens: readonly number[], lengths: readonly number[]): string[] {
  const hash = createHash('sha256').update(`${Buffer.byteLength(salt)}:${salt}`);
  const keys: string[] = [];
  let read = 0;
  for (const length of lengths) {
    hash.update(Int32Array.from(tokens.slice(read, length)));
    keys.push(hash.copy().digest('base64url'));
    read = length;
  }
  return keys;
}
