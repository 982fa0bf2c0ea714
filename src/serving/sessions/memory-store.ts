/** States that are gone with the process; beyond a number of bytes the least recently used ones go first. */
import { LRUCache } from 'lru-cache';
import {
  idsOf,
  type KeptState,
  nameOf,
  type SaveOptions,
  sessionBytes,
  type StateName,
  type StateStore,
  type StoredState,
} from './state-store.ts';

export class MemoryStore implements StateStore {
  readonly #entries: LRUCache<string, StoredState>;

  /** @param maxBytes an entry that has more is not kept. Default: all are */
  constructor(maxBytes = Number.MAX_SAFE_INTEGER) {
    this.#entries = new LRUCache<string, StoredState>({
      maxSize: Math.max(1, maxBytes),
      sizeCalculation: ({ session }) => Math.max(1, sessionBytes(session)),
    });
  }

  get count(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#entries.calculatedSize;
  }

  load(name: StateName): Promise<StoredState | undefined> {
    return Promise.resolve(this.#entries.get(nameOf(name)));
  }

  version(name: StateName): Promise<number | undefined> {
    return Promise.resolve(this.#entries.peek(nameOf(name))?.version);
  }

  save(name: StateName, session: KeptState, { expected, ttl }: SaveOptions): Promise<number | undefined> {
    const known = this.#entries.peek(nameOf(name))?.version ?? 0;
    if (known !== (expected ?? known)) return Promise.resolve(undefined);
    this.put(name, { session, version: known + 1, ttl });
    return Promise.resolve(known + 1);
  }

  /** Keeps an entry with the version that another store gave it. */
  put(name: StateName, entry: StoredState): void {
    // Tokens of an idle text take four bytes each.
    const session = { ...entry.session, tokens: Int32Array.from(entry.session.tokens) };
    this.#entries.set(nameOf(name), { ...entry, session }, { ttl: 1000 * (entry.ttl ?? 0) });
  }

  remove(name: StateName): Promise<boolean> {
    return Promise.resolve(this.#entries.peek(nameOf(name)) !== undefined && this.#entries.delete(nameOf(name)));
  }

  list(owner: string): Promise<string[]> {
    return Promise.resolve(idsOf(owner, [...this.#entries.keys()]));
  }

  close(): Promise<void> {
    this.#entries.clear();
    return Promise.resolve();
  }
}
