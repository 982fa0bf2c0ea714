/**
 * Sessions: texts whose state is kept between requests, so that the next turn reads only what is new. They are forked by a
 * copy of the state, and leave and enter the server as session files.
 *
 * One turn at a time works on a session, on a fork of its state: a turn that fails or is cancelled leaves the session as it
 * was, and a second turn next to it is refused: at once by the server that has the first, and by another, which shares the
 * store, when it would replace a version that is no more.
 */
import { randomBytes } from 'node:crypto';
import { decodeSession, encodeSession, type SavedSession } from '../../decoding/state/session-file.ts';
import type { TextModel } from '../../engine/text-model.ts';
import type { SaveOptions, SessionName, SessionStore, StoredSession } from './session-store.ts';

/** Why a session cannot be had. */
export class SessionError extends Error {
  readonly reason: 'missing' | 'busy' | 'stale' | 'full' | 'name';
  constructor(reason: SessionError['reason'], message: string) {
    super(message);
    this.name = 'SessionError';
    this.reason = reason;
  }
}

/** What is said about a session. */
export interface SessionSummary {
  readonly id: string;
  readonly object: 'session';
  /** Tokens of its text. */
  readonly position: number;
  readonly state_bytes: number;
  /** Grows with every turn. */
  readonly version: number;
}

/** A session while a request works on it. */
export interface SessionTurn {
  readonly session: SavedSession;
  /** Of the session before the turn. */
  readonly version: number;
  /** Keeps what the turn came to. @throws SessionError `stale` if the session is not what it was when the turn began */
  commit(session: SavedSession): Promise<void>;
  /** Lets others have the session; called once more it does nothing. */
  release(): void;
}

const idPattern = /^[A-Za-z0-9_-]{1,64}$/;

/** Milliseconds for which a count of an owner's sessions is good enough: the limit is not an exact science, counting is work. */
const countAge = 5_000;

/** How sessions are kept. */
export interface SessionsOptions {
  /** Most sessions of one owner. Default 10,000. */
  readonly most?: number;
  /** Seconds without a turn after which a session is gone, where it was not made with others. Default: it stays. */
  readonly ttl?: number;
}

export class Sessions {
  readonly #model: TextModel;
  readonly #store: SessionStore;
  readonly #most: number;
  readonly #ttl: number | undefined;
  readonly #busy = new Set<string>();
  readonly #counts = new Map<string, { count: number; readonly at: number }>();

  constructor(model: TextModel, store: SessionStore, { most = 10_000, ttl }: SessionsOptions = {}) {
    this.#model = model;
    this.#store = store;
    this.#most = most;
    this.#ttl = ttl;
  }

  /** Keeps a new session. @throws SessionError `full` */
  async create(owner: string, session: SavedSession, ttl = this.#ttl): Promise<SessionSummary> {
    await this.#checkRoom(owner);
    const id = `sess_${randomBytes(16).toString('hex')}`;
    const version = await this.#save({ owner, id }, session, { expected: 0, ttl });
    return summary(id, { session, version });
  }

  /**
   * Begins a turn.
   * @param expected the version that the caller believes in
   * @throws SessionError `missing`, `busy`, or `stale` for another version
   */
  async begin(name: SessionName, expected?: number): Promise<SessionTurn> {
    const release = this.#claim(name);
    try {
      const { session, version, ttl } = await this.#load(name);
      if (expected !== undefined && expected !== version) throw stale(name);
      const commit = async (result: SavedSession): Promise<void> => {
        await this.#save(name, result, { expected: version, ttl });
      };
      return { session, version, commit, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  async describe(name: SessionName): Promise<SessionSummary> {
    return summary(name.id, await this.#load(name));
  }

  /** The token ids of a session's text. */
  async tokens(name: SessionName): Promise<ArrayLike<number>> {
    return (await this.#load(name)).session.tokens;
  }

  list(owner: string): Promise<string[]> {
    return this.#store.list(owner);
  }

  /** Copies a session. */
  async fork(name: SessionName, count: number): Promise<SessionSummary[]> {
    const { session, ttl } = await this.#load(name);
    const forks: SessionSummary[] = [];
    // A stored session is never changed, so that its forks may share the state until they have turns of their own.
    for (let made = 0; made < count; made++) forks.push(await this.create(name.owner, session, ttl));
    return forks;
  }

  /** @throws SessionError `missing` or `busy` */
  async remove(name: SessionName): Promise<void> {
    const release = this.#claim(name);
    try {
      if (!(await this.#store.remove(name))) throw missing(name);
    } finally {
      release();
    }
  }

  /** The bytes of a session file. */
  async export(name: SessionName): Promise<Uint8Array> {
    const { session } = await this.#load(name);
    return encodeSession({ ...session, fingerprint: this.#model.fingerprint });
  }

  /**
   * Takes in a session file, which may be anyone's: it is checked as a whole first.
   * @param name of the session that it replaces or becomes; a new one if its id is undefined
   * @throws SessionError `busy`; LinnetError `FORMAT` or `MISMATCH` as `decodeSession`
   */
  async import(
    { owner, id }: { readonly owner: string; readonly id?: string },
    bytes: Uint8Array,
  ): Promise<SessionSummary> {
    const release = id === undefined ? undefined : this.#claim({ owner, id });
    try {
      const { engine, fingerprint } = this.#model;
      const session = await decodeSession(bytes, engine, fingerprint);
      if (id === undefined) return await this.create(owner, session);
      const expected = (await this.#store.version({ owner, id })) ?? 0;
      if (expected === 0) await this.#checkRoom(owner);
      const version = await this.#save({ owner, id }, session, { expected, ttl: this.#ttl });
      return summary(id, { session, version });
    } finally {
      release?.();
    }
  }

  /** @throws SessionError `stale` */
  async #save(name: SessionName, session: SavedSession, options: SaveOptions): Promise<number> {
    const version = await this.#store.save(name, session, options);
    if (version === undefined) throw stale(name);
    return version;
  }

  /** Counts one more session. @throws SessionError `full` where it would be too many */
  async #checkRoom(owner: string): Promise<void> {
    let known = this.#counts.get(owner);
    if (known === undefined || performance.now() - known.at > countAge || known.count >= this.#most) {
      known = { count: (await this.#store.list(owner)).length, at: performance.now() };
      this.#counts.set(owner, known);
    }
    if (known.count >= this.#most) {
      throw new SessionError('full', `there are ${known.count} sessions, the most there may be; delete some`);
    }
    known.count++;
  }

  async #load(name: SessionName): Promise<StoredSession> {
    checkId(name);
    const stored = await this.#store.load(name);
    if (stored === undefined) throw missing(name);
    return stored;
  }

  /** @throws SessionError `busy` while a turn is under way */
  #claim(name: SessionName): () => void {
    checkId(name);
    const key = `${name.owner} ${name.id}`;
    if (this.#busy.has(key)) throw new SessionError('busy', `another request works on session ${name.id}`);
    this.#busy.add(key);
    let held = true;
    return () => {
      if (held) this.#busy.delete(key);
      held = false;
    };
  }
}

function checkId({ id }: SessionName): void {
  if (!idPattern.test(id)) throw new SessionError('name', 'a session id has 1 to 64 letters, digits, _ and -');
}

function missing({ id }: SessionName): SessionError {
  return new SessionError('missing', `there is no session ${id}`);
}

function stale({ id }: SessionName): SessionError {
  return new SessionError('stale', `session ${id} was changed meanwhile; look at it and try again`);
}

function summary(id: string, { session: { state, tokens }, version }: StoredSession): SessionSummary {
  return { id, object: 'session', position: tokens.length, state_bytes: state.bytes, version };
}
