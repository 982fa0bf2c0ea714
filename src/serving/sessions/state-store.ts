/**
 * Where states of texts are kept: sessions, answers of /v1/responses, beginnings of prompts; in memory, a folder
 * or Redis. `state-store.engine.test.ts` holds every store to one contract: an entry has a version that grows with each save, and a
 * save may name the version that it replaces, so that of two writers one is told.
 */
import type { Snapshot } from '../../decoding/state/session-format.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { ApiError, noRoom } from '../http/api-error.ts';

/** The model of the states, as far as their bytes depend on it. */
export interface StateModel {
  readonly engine: StepEngine;
  readonly fingerprint: string;
}

export interface StateName {
  /** Name of an API key, or '' where there are none. Has no dot. */
  readonly owner: string;
  readonly id: string;
}

/** A text with its state and a note. Never changed: turns work on forks. */
export interface KeptState extends Snapshot {
  readonly note?: string;
}

export interface StoredState {
  readonly session: KeptState;
  /** From 1. */
  readonly version: number;
  /** Seconds that it is kept after its last save; undefined keeps it until it is removed. */
  readonly ttl?: number;
}

export interface SaveOptions {
  /** The version that is replaced, 0 where there is no such entry yet. Default: any. */
  readonly expected?: number;
  readonly ttl?: number;
}

export interface StateStore {
  /**
   * The entry; undefined where there is none, or none any more.
   * @throws LinnetError `FORMAT` or `MISMATCH` for one that is damaged or of another model
   */
  load(name: StateName): Promise<StoredState | undefined>;
  /** The version that a load would give, at little cost. */
  version(name: StateName): Promise<number | undefined>;
  /**
   * Replaces an entry, all at once. When it returns, the entry outlives the process, in stores that do.
   * @returns the new version; undefined, and nothing is changed, where the version is not the expected one
   * @throws StoreError; nothing is changed then
   */
  save(name: StateName, session: KeptState, options: SaveOptions): Promise<number | undefined>;
  remove(name: StateName): Promise<boolean>;
  /** Identifiers of an owner's entries, in order. */
  list(owner: string): Promise<string[]>;
  /** Releases resources. Entries stay, in stores that outlive the process. */
  close(): Promise<void>;
}

/** The store cannot be reached, or has no room. */
export class StoreError extends ApiError {
  constructor(isFull: boolean, cause: unknown) {
    if (isFull) super('insufficient_storage_error', noRoom, { cause });
    else super('unavailable_error', 'the store of sessions does not answer; try again later', { retryAfter: 1, cause });
  }
}

export function sessionBytes({ state, tokens, note = '' }: KeptState): number {
  return state.bytes + 4 * tokens.length + 2 * note.length;
}

export function nameOf({ owner, id }: StateName): string {
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
