/**
 * Where sessions are kept. Every store keeps the same contract, which `session-store.test.ts` holds all of them to: a
 * session has a version that grows with each save, and a save names the version that it replaces, so that of two writers
 * one is told.
 */
import type { SavedSession } from '../../decoding/state/session-file.ts';

/** Identifies a session: whose it is, and which. */
export interface SessionName {
  /** Name of an API key, or '' where there are none. */
  readonly owner: string;
  readonly id: string;
}

/** A session as a store has it. Never changed: turns work on forks. */
export interface StoredSession {
  readonly session: SavedSession;
  /** From 1. */
  readonly version: number;
  /** Seconds that it is kept after its last save; undefined keeps it until it is removed. */
  readonly ttl?: number;
}

/** What a save asks for. */
export interface SaveOptions {
  /** The version that is replaced; 0 where there is no such session yet. */
  readonly expected: number;
  readonly ttl?: number;
}

/** Keeps sessions. */
export interface SessionStore {
  /**
   * The session; undefined where there is none, or none any more.
   * @throws LinnetError `FORMAT` or `MISMATCH` for one that is damaged or of another model
   */
  load(name: SessionName): Promise<StoredSession | undefined>;
  /** The version that a load would give, at little cost. */
  version(name: SessionName): Promise<number | undefined>;
  /**
   * Replaces a session, all at once. When it returns, the session outlives the process, in stores that do.
   * @returns the new version; undefined, and nothing is changed, where the version is not the expected one
   */
  save(name: SessionName, session: SavedSession, options: SaveOptions): Promise<number | undefined>;
  /** Whether there was one. */
  remove(name: SessionName): Promise<boolean>;
  /** Ids of an owner's sessions, in order. */
  list(owner: string): Promise<string[]>;
  /** Gives back what the store holds of the system. Sessions stay, in stores that outlive the process. */
  close(): Promise<void>;
}

/** The store cannot be reached; it may be again later. */
export class StoreUnavailableError extends Error {
  constructor(cause: unknown) {
    super('the store of sessions does not answer; try again later', { cause });
    this.name = 'StoreUnavailableError';
  }
}

/** Bytes of memory that a session takes. */
export function sessionBytes({ state, tokens }: SavedSession): number {
  return state.bytes + 4 * tokens.length;
}

/** One name for owner and id, neither of which has a dot. */
export function nameOf({ owner, id }: SessionName): string {
  return `${owner === '' ? 'anyone' : owner}.${id}`;
}

/** Of names as `nameOf` makes them, the ids of an owner, in order. */
export function idsOf(owner: string, names: readonly string[]): string[] {
  const prefix = nameOf({ owner, id: '' });
  return names
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length))
    .sort();
}
