/**
 * Sessions: texts whose state is kept between requests, so that the next turn reads only what is new. They are forked by a
 * copy of the state, and leave and enter the server as session files.
 *
 * One turn at a time works on a session, on a fork of its state: a turn that fails or is cancelled leaves the session as it
 * was, and a second turn next to it is refused.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { restoreSession, type SavedSession, saveSession } from '../../decoding/state/session-file.ts';
import type { ServedModel } from '../served-model.ts';
import type { SessionName, SessionStore } from './session-store.ts';

/** Why a session cannot be had. */
export class SessionError extends Error {
  readonly reason: 'missing' | 'busy' | 'full' | 'large' | 'name';
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
  /** Keeps what the turn came to. */
  commit(session: SavedSession): Promise<void>;
  /** Lets others have the session; called once more it does nothing. */
  release(): void;
}

const idPattern = /^[A-Za-z0-9_-]{1,64}$/;

export class Sessions {
  readonly #model: ServedModel;
  readonly #store: SessionStore;
  readonly #most: number;
  readonly #busy = new Set<string>();

  /** @param most sessions of one owner */
  constructor(model: ServedModel, store: SessionStore, most = 10_000) {
    this.#model = model;
    this.#store = store;
    this.#most = most;
  }

  /** Keeps a new session. @throws SessionError `full` */
  async create(owner: string, session: SavedSession): Promise<SessionSummary> {
    await this.#checkRoom(owner);
    const id = `sess_${randomBytes(16).toString('hex')}`;
    await this.#store.save({ owner, id }, session);
    return summary(id, session);
  }

  /** Begins a turn. @throws SessionError `missing` or `busy` */
  async begin(name: SessionName): Promise<SessionTurn> {
    const release = this.#claim(name);
    try {
      const session = await this.#load(name);
      return {
        session,
        commit: (result) => this.#store.save(name, result),
        release,
      };
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
    return (await this.#load(name)).tokens;
  }

  list(owner: string): Promise<string[]> {
    return this.#store.list(owner);
  }

  /** Copies a session. */
  async fork(name: SessionName, count: number): Promise<SessionSummary[]> {
    const session = await this.#load(name);
    const forks: SessionSummary[] = [];
    for (let made = 0; made < count; made++) {
      forks.push(await this.create(name.owner, { ...session, state: session.state.fork() }));
    }
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
  async export(name: SessionName): Promise<Buffer> {
    const session = await this.#load(name);
    return inScratch(async (file) => {
      await saveSession(file, { ...session, fingerprint: this.#model.fingerprint });
      return readFile(file);
    });
  }

  /**
   * Takes in a session file, which may be anyone's: it is written to a scratch file and checked as a whole first.
   * @param name of the session that it replaces or becomes; a new one if its id is undefined
   * @throws SessionError `large` beyond so many bytes, `busy`; LinnetError `FORMAT` or `MISMATCH` as `restoreSession`
   */
  async import(
    { owner, id }: { readonly owner: string; readonly id?: string },
    bytes: AsyncIterable<Uint8Array>,
    mostBytes: number,
  ): Promise<SessionSummary> {
    const release = id === undefined ? undefined : this.#claim({ owner, id });
    try {
      const session = await inScratch(async (file) => {
        await writeBounded(file, bytes, mostBytes);
        return restoreSession(file, this.#model.engine, this.#model.fingerprint);
      });
      if (id === undefined) return await this.create(owner, session);
      await this.#checkRoom(owner, id);
      await this.#store.save({ owner, id }, session);
      return summary(id, session);
    } finally {
      release?.();
    }
  }

  /** @throws SessionError `full` where one more session, other than `id`, would be too many */
  async #checkRoom(owner: string, id?: string): Promise<void> {
    const held = await this.#store.list(owner);
    if (held.length < this.#most || (id !== undefined && held.includes(id))) return;
    throw new SessionError('full', `there are ${held.length} sessions, the most there may be; delete some`);
  }

  async #load(name: SessionName): Promise<SavedSession> {
    checkId(name);
    const session = await this.#store.load(name);
    if (session === undefined) throw missing(name);
    return session;
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

function summary(id: string, { state, tokens }: SavedSession): SessionSummary {
  return { id, object: 'session', position: tokens.length, state_bytes: state.bytes, version: tokens.length };
}

async function inScratch<T>(work: (file: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'linnet-session-'));
  try {
    return await work(join(folder, 'state'));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function writeBounded(path: string, bytes: AsyncIterable<Uint8Array>, most: number): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    let written = 0;
    for await (const piece of bytes) {
      written += piece.length;
      if (written > most) throw new SessionError('large', `a session may have ${most} bytes here`);
      await file.writeFile(piece);
    }
  } finally {
    await file.close();
  }
}
