/**
 * Where sessions are kept. A store is memory, a folder or Redis (`serving/sessions`), of many users, with versions; files are the
 * paths of one user in Node (`open/index.ts`), or names in a browser (`open/session-folder.ts`). A session is a `Snapshot`
 * (`decoding/state/session-format.ts`), bound to the weights it was made with, adapters and precision included.
 */
import type { Snapshot } from '../decoding/state/session-format.ts';
import type { StepEngine } from '../decoding/step-engine.ts';

/** Saved sessions of one user, by path or name. */
export interface SessionFiles {
  /** Replaces a file, all at once. */
  write(path: string, session: Snapshot): Promise<void>;
  /** @throws LinnetError `NOT_FOUND`; `FORMAT` or `MISMATCH` for a file that is damaged or of another model */
  read(path: string, engine: StepEngine): Promise<Snapshot>;
}

/** Who kept a session, and under which name. */
export interface SessionName {
  /** Name of an API key, or '' where there are none. Has no dot. */
  readonly owner: string;
  readonly id: string;
}

/** A text with its state and a note. Never changed: turns work on forks. */
export interface NotedSession extends Snapshot {
  readonly note?: string;
}

export interface StoredSession {
  readonly session: NotedSession;
  /** From 1. */
  readonly version: number;
  /** Seconds that it is kept after its last write; undefined keeps it until it is deleted. */
  readonly ttl?: number;
}

export interface SessionWrite {
  /** The version that is replaced, 0 where there is no such session yet. Default: any. */
  readonly expected?: number;
  readonly ttl?: number;
}

/**
 * Sessions of many users, which several servers may share: sessions of clients, answers of /v1/responses, beginnings of prompts.
 * `session-stores.engine.test.ts` holds every store to one contract: a version grows with each write, and a write may name the version
 * that it replaces, so that of two writers one is told.
 */
export interface SessionStore {
  /**
   * The session; undefined where there is none, or none any more.
   * @throws LinnetError `FORMAT` or `MISMATCH` for one that is damaged or of another model
   */
  read(name: SessionName): Promise<StoredSession | undefined>;
  /** The version that `read` would give, at little cost. */
  version(name: SessionName): Promise<number | undefined>;
  /**
   * Replaces a session, all at once. When it returns, the session outlives the process, in stores that do.
   * @returns the new version; undefined, and nothing is changed, where the version is not the expected one
   * @throws ApiError where the store cannot be reached or has no room; nothing is changed then
   */
  write(name: SessionName, session: NotedSession, options?: SessionWrite): Promise<number | undefined>;
  /** Whether there was one. */
  delete(name: SessionName): Promise<boolean>;
  /** Identifiers of an owner's sessions, in order. */
  list(owner: string): Promise<string[]>;
  /** Releases resources. Sessions stay, in stores that outlive the process. */
  close(): Promise<void>;
}

/** The model of the states in a store, as far as their bytes depend on it. */
export interface StateModel {
  readonly engine: StepEngine;
  readonly fingerprint: string;
}

export function sessionBytes({ state, tokens, note = '' }: NotedSession): number {
  return state.bytes + 4 * tokens.length + 2 * note.length;
}

export function nameOf({ owner, id }: SessionName): string {
  return `${owner === '' ? 'anyone' : owner}.${id}`;
}

/** Identifiers of an owner among names as `nameOf` makes them, in order. */
export function idsOf(owner: string, names: readonly string[]): string[] {
  const prefix = nameOf({ owner, id: '' });
  return names
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length))
    .sort();
}
