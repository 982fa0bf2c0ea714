/**
 * Sessions keep a text's state between requests, so that the next turn reads only the new tokens.
 *
 * One turn at a time works on a session, on a fork of its state: a turn that fails or is cancelled leaves the session as it
 * was. A second turn is refused: at once by the server that has the first, and by another server, which shares the store,
 * if it would replace an outdated version.
 */
import { randomBytes } from 'node:crypto';
import type { Snapshot } from '../../decoding/state/session-format.ts';
import { cancelled } from '../../engine/running-job.ts';
import { ApiError } from '../http/api-error.ts';
import type { SessionWrite, SessionName, SessionStore, StoredSession } from '../../engine/session-store.ts';

/** A session while a request works on it. */
export interface SessionTurn {
  readonly session: Snapshot;
  /** Replaces the session. @throws ApiError if the session has changed since the turn began */
  readonly keep: (session: Snapshot) => Promise<void>;
}

/** Milliseconds for which the count of an owner's sessions is reused: counting is work, and the limit need not be exact. */
const countAge = 5_000;

/** Most sessions of one owner. */
const mostSessions = 10_000;

export class Sessions {
  readonly #store: SessionStore;
  readonly #ttl: number | undefined;
  readonly #busy = new Set<string>();
  readonly #counts = new Map<string, { count: number; readonly at: number }>();

  /** @param ttl seconds without a turn after which a session is deleted, unless created with another time. Default: never */
  constructor(store: SessionStore, ttl?: number) {
    this.#store = store;
    this.#ttl = ttl;
  }

  /** Stores a new session. @throws ApiError if the owner has the maximum number */
  create(owner: string, session: Snapshot, ttl = this.#ttl) {
    return this.#save({ owner, id: `sess_${randomBytes(16).toString('hex')}` }, session, { expected: 0, ttl });
  }

  /** Stores copies of a session, all of them or none. @throws ApiError as `create` */
  async createAll(count: number, owner: string, session: Snapshot, ttl?: number) {
    const copies: ReturnType<typeof summary>[] = [];
    try {
      while (copies.length < count) copies.push(await this.create(owner, session, ttl));
    } catch (error) {
      await Promise.allSettled(copies.map(({ id }) => this.#store.delete({ owner, id })));
      throw error;
    }
    return copies;
  }

  /** Stores a session under an id, replacing any other. @throws ApiError as `create` and `begin` */
  async put(name: SessionName, session: Snapshot, signal: AbortSignal) {
    this.#claim(name, signal);
    const expected = (await this.#store.version(name)) ?? 0;
    return await this.#save(name, session, { expected, ttl: this.#ttl });
  }

  /**
   * Begins a turn.
   * @param signal fired at the end of the turn
   * @param expected the version that the caller believes in
   * @throws ApiError without the session, while another turn works on it, and for another version
   */
  async begin(name: SessionName, signal: AbortSignal, expected?: number): Promise<SessionTurn> {
    this.#claim(name, signal);
    const { session, version, ttl } = await this.load(name);
    if (expected !== undefined && expected !== version) throw stale(name);
    const keep = async (result: Snapshot): Promise<void> => {
      await this.#save(name, result, { expected: version, ttl });
    };
    return { session, keep };
  }

  list(owner: string): Promise<string[]> {
    return this.#store.list(owner);
  }

  /** @throws ApiError as `begin` */
  async remove(name: SessionName, signal: AbortSignal): Promise<void> {
    this.#claim(name, signal);
    if (!(await this.#store.delete(name))) throw missing(name);
  }

  /** @throws ApiError without the session */
  async load(name: SessionName): Promise<StoredSession> {
    checkId(name);
    const stored = await this.#store.read(name);
    if (stored === undefined) throw missing(name);
    return stored;
  }

  async #save(name: SessionName, session: Snapshot, options: SessionWrite) {
    if (options.expected === 0) await this.#count(name.owner);
    const version = await this.#store.write(name, session, options);
    if (version === undefined) throw stale(name);
    return summary(name, { session, version });
  }

  async #count(owner: string): Promise<void> {
    let known = this.#counts.get(owner);
    if (known === undefined || performance.now() - known.at > countAge || known.count >= mostSessions) {
      known = { count: (await this.#store.list(owner)).length, at: performance.now() };
      this.#counts.set(owner, known);
    }
    if (known.count >= mostSessions) {
      throw new ApiError('rate_limit_error', `there are ${known.count} sessions, the maximum; delete some`);
    }
    known.count++;
  }

  /** Keeps others from a session until the signal of the request fires. */
  #claim(name: SessionName, signal: AbortSignal): void {
    checkId(name);
    const key = `${name.owner} ${name.id}`;
    if (this.#busy.has(key))
      throw new ApiError('conflict_error', `another request is using session ${name.id}; try again later`);
    if (signal.aborted) throw cancelled();
    signal.addEventListener('abort', () => this.#busy.delete(key), { once: true });
    this.#busy.add(key);
  }
}

/** A session as the API describes it. Its version grows with every turn. */
export function summary({ id }: SessionName, { session: { state, tokens }, version }: StoredSession) {
  return { id, object: 'session', position: tokens.length, state_bytes: state.bytes, version };
}

function checkId({ id }: SessionName): void {
  if (/^[A-Za-z0-9_-]{1,64}$/.test(id)) return;
  throw new ApiError('invalid_request_error', 'a session id has 1 to 64 letters, digits, _ and -');
}

function missing({ id }: SessionName): ApiError {
  return new ApiError('not_found_error', `there is no session ${id}`);
}

function stale({ id }: SessionName): ApiError {
  return new ApiError('conflict_error', `session ${id} was changed in the meantime; reread it and try again`);
}
