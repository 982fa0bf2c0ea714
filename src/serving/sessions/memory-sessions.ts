/** Sessions that are gone with the process. */
import type { SavedSession } from '../../decoding/state/session-file.ts';
import {
  idsOf,
  nameOf,
  type SaveOptions,
  type SessionName,
  type SessionStore,
  type StoredSession,
} from './session-store.ts';

interface Held extends StoredSession {
  readonly savedAt: number;
}

export class MemorySessions implements SessionStore {
  readonly #sessions = new Map<string, Held>();

  load(name: SessionName): Promise<StoredSession | undefined> {
    return Promise.resolve(this.#find(nameOf(name)));
  }

  version(name: SessionName): Promise<number | undefined> {
    return Promise.resolve(this.#find(nameOf(name))?.version);
  }

  save(name: SessionName, session: SavedSession, { expected, ttl }: SaveOptions): Promise<number | undefined> {
    const key = nameOf(name);
    if ((this.#find(key)?.version ?? 0) !== expected) return Promise.resolve(undefined);
    const version = expected + 1;
    this.#sessions.set(key, { session, version, ttl, savedAt: performance.now() });
    return Promise.resolve(version);
  }

  remove(name: SessionName): Promise<boolean> {
    const key = nameOf(name);
    const known = this.#find(key) !== undefined;
    this.#sessions.delete(key);
    return Promise.resolve(known);
  }

  list(owner: string): Promise<string[]> {
    const live = [...this.#sessions.keys()].filter((key) => this.#find(key) !== undefined);
    return Promise.resolve(idsOf(owner, live));
  }

  close(): Promise<void> {
    this.#sessions.clear();
    return Promise.resolve();
  }

  /** A session whose time is over is none. */
  #find(key: string): Held | undefined {
    const held = this.#sessions.get(key);
    if (held?.ttl === undefined || performance.now() - held.savedAt < 1000 * held.ttl) return held;
    this.#sessions.delete(key);
    return undefined;
  }
}
