/**
 * Where sessions are kept. A store (`serving/sessions`: memory, a folder or Redis) holds many users' sessions, with versions;
 * files are one user's paths in Node (`open/index.ts`), or names in a browser (`open/session-folder.ts`). A session is a
 * `Snapshot` (`decoding/state/session-format.ts`), bound to the weights it was made with, including adapters and precision.
 */
import type { Snapshot } from '../decoding/state/session-format.ts';
import type { StepEngine } from '../decoding/step-engine.ts';

/** One user's saved sessions, by path or name. */
export interface SessionFiles {
  /** Replaces a file atomically. */
  write(path: string, session: Snapshot): Promise<void>;
  /** @throws LinnetError `NOT_FOUND`; `FORMAT` or `MISMATCH` for a file that is damaged or another model's */
  read(path: string, engine: StepEngine): Promise<Snapshot>;
}

/** Who keeps a session, and under which name. */
export interface SessionName {
  /** An API key's name, or '' without keys. Contains no dot. */
  readonly owner: string;
  readonly id: string;
}

/** A text with its state and a note. Immutable: turns work on forks. */
export interface NotedSession extends Snapshot {
  readonly note?: string;
}

export interface StoredSession {
  readonly session: NotedSession;
  /** Starts at 1. */
  readonly version: number;
  /** Seconds to keep it after its last write; undefined keeps it until it is deleted. */
  readonly ttl?: number;
}

export interface SessionWrite {
  /** The version to replace, 0 if no such session exists yet. Default: any. */
  readonly expected?: number;
  readonly ttl?: number;
}

/**
 * Sessions of many users, which several servers may share: clients' sessions, answers of /v1/responses, prompt prefixes.
 * `session-stores.engine.test.ts` holds every store to one contract: each write raises the version, and a write may name the
 * version it replaces, so that the second of two writers is told.
 */
export interface SessionStore {
  /**
   * The session; undefined if there is none, or no longer one.
   * @throws LinnetError `FORMAT` or `MISMATCH` for one that is damaged or another model's
   */
  read(name: SessionName): Promise<StoredSession | undefined>;
  /** The version that `read` would return, at little cost. */
  version(name: SessionName): Promise<number | undefined>;
  /**
   * Replaces a session atomically. In persistent stores the session outlives the process once this returns.
   * @returns the new version; undefined, changing nothing, if the version is not the expected one
   * @throws ApiError if the store is unreachable or full, changing nothing
   */
  write(name: SessionName, session: NotedSession, options?: SessionWrite): Promise<number | undefined>;
  /** Deletes a session. Returns whether there was one. */
  delete(name: SessionName): Promise<boolean>;
  /** An owner's session ids, in order. */
  list(owner: string): Promise<string[]>;
  /** Releases resources. Sessions stay, in persistent stores. */
  close(): Promise<void>;
}

/** The part of the model that stored states' bytes depend on. */
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

/** An owner's ids among names made by `nameOf`, in order. */
export function idsOf(owner: string, names: readonly string[]): string[] {
  const prefix = nameOf({ owner, id: '' });
  return names
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length))
    .sort();
}
