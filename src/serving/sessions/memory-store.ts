/**
 * The most recently used states in memory: alone, gone with the process, or in front of a store. Saves go through to the
 * store; an entry in memory is used only if the store still has its version, since other servers may have continued it.
 */
import { LRUCache } from 'lru-cache';
import {
  idsOf,
  type NotedSession,
  nameOf,
  type SessionWrite,
  sessionBytes,
  type SessionName,
  type SessionStore,
  type StoredSession,
} from '../../engine/session-store.ts';
import { StoreError } from '../http/api-error.ts';

/** Where an entry was found, how long that took, and how many bytes came from the store. */
type LoadObserver = (tier: 'warm' | 'cold', seconds: number, bytes: number) => void;

export interface MemoryStoreOptions {
  /** Bytes of entries in memory; an entry that has more is not held. Default: all are. */
  readonly maxBytes?: number;
  /** The backing store, closed with this one. Default: none. */
  readonly cold?: SessionStore;
  /** Receives the reason while the store is unavailable and memory alone is used. Default: an error. */
  readonly onAbsence?: (error: unknown) => void;
}

export class MemoryStore implements SessionStore {
  readonly #entries: LRUCache<string, StoredSession>;
  readonly #cold: SessionStore | undefined;
  readonly #onAbsence: ((error: unknown) => void) | undefined;
  /** Receives every load of an entry, if there is a backing store. */
  observer: LoadObserver = () => undefined;

  constructor({ maxBytes = Number.MAX_SAFE_INTEGER, cold, onAbsence }: MemoryStoreOptions = {}) {
    this.#cold = cold;
    this.#onAbsence = onAbsence;
    this.#entries = new LRUCache<string, StoredSession>({
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

  async read(name: SessionName): Promise<StoredSession | undefined> {
    const started = performance.now();
    const seconds = (): number => (performance.now() - started) / 1000;
    const held = this.#entries.get(nameOf(name));
    if (this.#cold === undefined) return held;
    if (held !== undefined && (await this.#bridged(this.#cold.version(name), held.version)) === held.version) {
      this.observer('warm', seconds(), 0);
      return held;
    }
    this.#entries.delete(nameOf(name));
    const stored = await this.#cold.read(name);
    if (stored === undefined) return undefined;
    this.observer('cold', seconds(), sessionBytes(stored.session));
    this.#hold(name, stored);
    return stored;
  }

  async version(name: SessionName): Promise<number | undefined> {
    return this.#cold === undefined ? this.#entries.peek(nameOf(name))?.version : await this.#cold.version(name);
  }

  async write(name: SessionName, session: NotedSession, options: SessionWrite = {}): Promise<number | undefined> {
    const { expected, ttl } = options;
    const known = this.#entries.peek(nameOf(name))?.version ?? 0;
    const next = known === (expected ?? known) ? known + 1 : undefined;
    const version =
      this.#cold === undefined
        ? next
        : await this.#bridged(this.#cold.write(name, session, options), (expected ?? 0) + 1);
    if (version !== undefined) this.#hold(name, { session, version, ttl });
    else if (this.#cold !== undefined) this.#entries.delete(nameOf(name));
    return version;
  }

  async delete(name: SessionName): Promise<boolean> {
    // An expired entry counts as absent.
    const held = this.#entries.peek(nameOf(name)) !== undefined && this.#entries.delete(nameOf(name));
    return this.#cold === undefined ? held : await this.#cold.delete(name);
  }

  async list(owner: string): Promise<string[]> {
    return this.#cold === undefined ? idsOf(owner, [...this.#entries.keys()]) : await this.#cold.list(owner);
  }

  async close(): Promise<void> {
    this.#entries.clear();
    await this.#cold?.close();
  }

  #hold(name: SessionName, entry: StoredSession): void {
    // Tokens of an idle text take four bytes each. What drafters have learned is for files.
    const session = { ...entry.session, tokens: Int32Array.from(entry.session.tokens), learned: undefined };
    this.#entries.set(nameOf(name), { ...entry, session }, { ttl: 1000 * (entry.ttl ?? 0) });
  }

  /** The store's answer, or another one while it is away. */
  async #bridged<T>(asked: Promise<T>, instead: T): Promise<T> {
    try {
      return await asked;
    } catch (error) {
      if (!(error instanceof StoreError) || this.#onAbsence === undefined) throw error;
      this.#onAbsence(error.cause);
      return instead;
    }
  }
}
