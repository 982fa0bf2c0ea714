/**
 * Sessions of a slower store, of which the most recently used are held in memory, up to so many bytes. Saves go through to
 * the store; what is held is used only where the store still has that version, since other servers may have gone on.
 */
import { LRUCache } from 'lru-cache';
import type { SavedSession } from '../../decoding/state/session-file.ts';
import {
  nameOf,
  type SaveOptions,
  sessionBytes,
  type SessionName,
  type SessionStore,
  type StoredSession,
} from './session-store.ts';

/** Where a session was found, and how long the store took. */
export type LoadObserver = (tier: 'warm' | 'cold', seconds: number, bytes: number) => void;

export class TieredSessions implements SessionStore {
  readonly #cold: SessionStore;
  readonly #warm: LRUCache<string, StoredSession>;
  readonly #most: number;
  /** Told of every load. */
  observer: LoadObserver = () => undefined;

  /** @param maxBytes bytes of sessions in memory; 0 holds none. The store is closed with this one. */
  constructor(cold: SessionStore, maxBytes: number) {
    this.#cold = cold;
    this.#most = maxBytes;
    this.#warm = new LRUCache<string, StoredSession>({
      maxSize: Math.max(1, maxBytes),
      sizeCalculation: ({ session }) => Math.max(1, sessionBytes(session)),
    });
  }

  /** Sessions in memory. */
  get warmCount(): number {
    return this.#warm.size;
  }

  get warmBytes(): number {
    return this.#warm.calculatedSize;
  }

  async load(name: SessionName): Promise<StoredSession | undefined> {
    const key = nameOf(name);
    const started = performance.now();
    const held = this.#warm.get(key);
    if (held !== undefined && (await this.#cold.version(name)) === held.version) {
      this.observer('warm', (performance.now() - started) / 1000, 0);
      return held;
    }
    this.#warm.delete(key);
    const stored = await this.#cold.load(name);
    if (stored === undefined) return undefined;
    this.observer('cold', (performance.now() - started) / 1000, sessionBytes(stored.session));
    this.#hold(key, stored);
    return stored;
  }

  version(name: SessionName): Promise<number | undefined> {
    return this.#cold.version(name);
  }

  async save(name: SessionName, session: SavedSession, options: SaveOptions): Promise<number | undefined> {
    const version = await this.#cold.save(name, session, options);
    const key = nameOf(name);
    if (version === undefined) this.#warm.delete(key);
    else this.#hold(key, { session: compact(session), version, ttl: options.ttl });
    return version;
  }

  remove(name: SessionName): Promise<boolean> {
    this.#warm.delete(nameOf(name));
    return this.#cold.remove(name);
  }

  list(owner: string): Promise<string[]> {
    return this.#cold.list(owner);
  }

  close(): Promise<void> {
    this.#warm.clear();
    return this.#cold.close();
  }

  #hold(key: string, stored: StoredSession): void {
    if (sessionBytes(stored.session) <= this.#most) this.#warm.set(key, stored);
  }
}

/** Tokens of an idle session take four bytes each. */
function compact(session: SavedSession): SavedSession {
  return { ...session, tokens: Int32Array.from(session.tokens) };
}
