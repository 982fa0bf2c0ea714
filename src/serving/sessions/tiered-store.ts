/**
 * A store with the most recently used entries in memory. Saves go through to the store; an entry in memory is used only
 * where the store still has its version, since other servers may have gone on.
 */
import { MemoryStore } from './memory-store.ts';
import {
  type KeptState,
  type SaveOptions,
  sessionBytes,
  type StateName,
  type StateStore,
  type StoredState,
  StoreError,
} from './state-store.ts';

/** Where an entry was found, how long that took, and how many bytes came from the store. */
type LoadObserver = (tier: 'warm' | 'cold', seconds: number, bytes: number) => void;

export class TieredStore implements StateStore {
  readonly #cold: StateStore;
  readonly #onAbsence: ((error: unknown) => void) | undefined;
  /** The entries in memory. */
  readonly warm: MemoryStore;
  /** Receives every load. */
  observer: LoadObserver = () => undefined;

  /**
   * @param maxBytes bytes of entries in memory; 0 holds none. The store is closed with this one.
   * @param onAbsence makes do with memory while the store is away, and receives the reason. Default: that is an error
   */
  constructor(cold: StateStore, maxBytes: number, onAbsence?: (error: unknown) => void) {
    this.#cold = cold;
    this.#onAbsence = onAbsence;
    this.warm = new MemoryStore(maxBytes);
  }

  async load(name: StateName): Promise<StoredState | undefined> {
    const started = performance.now();
    const held = await this.warm.load(name);
    const seconds = (): number => (performance.now() - started) / 1000;
    if (held !== undefined && (await this.#bridged(this.#cold.version(name), held.version)) === held.version) {
      this.observer('warm', seconds(), 0);
      return held;
    }
    await this.warm.remove(name);
    const stored = await this.#cold.load(name);
    if (stored === undefined) return undefined;
    this.observer('cold', seconds(), sessionBytes(stored.session));
    this.warm.put(name, stored);
    return stored;
  }

  version(name: StateName): Promise<number | undefined> {
    return this.#cold.version(name);
  }

  async save(name: StateName, session: KeptState, options: SaveOptions): Promise<number | undefined> {
    const version = await this.#bridged(this.#cold.save(name, session, options), (options.expected ?? 0) + 1);
    if (version === undefined) await this.warm.remove(name);
    else this.warm.put(name, { session, version, ttl: options.ttl });
    return version;
  }

  async remove(name: StateName): Promise<boolean> {
    await this.warm.remove(name);
    return this.#cold.remove(name);
  }

  list(owner: string): Promise<string[]> {
    return this.#cold.list(owner);
  }

  async close(): Promise<void> {
    await this.warm.close();
    await this.#cold.close();
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
