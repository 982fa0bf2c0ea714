/** Where sessions are kept: in memory, or as one file each in a folder, from where any server of the model goes on. */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { restoreSession, type SavedSession, saveSession } from '../../decoding/state/session-file.ts';
import { LinnetError } from '../../errors.ts';
import type { ServedModel } from '../served-model.ts';

/** Identifies a session: whose it is, and which. */
export interface SessionName {
  /** Name of an API key, or '' where there are none. */
  readonly owner: string;
  readonly id: string;
}

/** Keeps sessions. A saved one replaces the one of its name, all at once. */
export interface SessionStore {
  load(name: SessionName): Promise<SavedSession | undefined>;
  save(name: SessionName, session: SavedSession): Promise<void>;
  /** Whether there was one. */
  remove(name: SessionName): Promise<boolean>;
  /** Ids of an owner's sessions, in order. */
  list(owner: string): Promise<string[]>;
}

const nameOf = ({ owner, id }: SessionName): string => `${owner === '' ? 'anyone' : owner}.${id}`;

/** Sessions that are gone with the process. A session in the store is never changed: turns work on forks. */
export class MemorySessions implements SessionStore {
  readonly #sessions = new Map<string, SavedSession>();

  load(name: SessionName): Promise<SavedSession | undefined> {
    return Promise.resolve(this.#sessions.get(nameOf(name)));
  }

  save(name: SessionName, session: SavedSession): Promise<void> {
    this.#sessions.set(nameOf(name), session);
    return Promise.resolve();
  }

  remove(name: SessionName): Promise<boolean> {
    return Promise.resolve(this.#sessions.delete(nameOf(name)));
  }

  list(owner: string): Promise<string[]> {
    return Promise.resolve(idsOf(owner, [...this.#sessions.keys()]));
  }
}

const extension = '.session';

/** Sessions as files. Their names hold the owner and the id, both checked before they come here. */
export class FolderSessions implements SessionStore {
  readonly #folder: string;
  readonly #model: ServedModel;

  private constructor(folder: string, model: ServedModel) {
    this.#folder = folder;
    this.#model = model;
  }

  /** Makes the folder if there is none. */
  static async open(folder: string, model: ServedModel): Promise<FolderSessions> {
    await mkdir(folder, { recursive: true });
    return new FolderSessions(folder, model);
  }

  async load(name: SessionName): Promise<SavedSession | undefined> {
    try {
      return await restoreSession(this.#path(name), this.#model.engine, this.#model.fingerprint);
    } catch (error) {
      if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
      throw error;
    }
  }

  async save(name: SessionName, session: SavedSession): Promise<void> {
    await saveSession(this.#path(name), { ...session, fingerprint: this.#model.fingerprint });
  }

  async remove(name: SessionName): Promise<boolean> {
    const known = (await this.list(name.owner)).includes(name.id);
    await rm(this.#path(name), { force: true });
    return known;
  }

  async list(owner: string): Promise<string[]> {
    const files = (await readdir(this.#folder)).filter((file) => file.endsWith(extension));
    return idsOf(
      owner,
      files.map((file) => file.slice(0, -extension.length)),
    );
  }

  #path(name: SessionName): string {
    return join(this.#folder, nameOf(name) + extension);
  }
}

function idsOf(owner: string, names: readonly string[]): string[] {
  const prefix = nameOf({ owner, id: '' });
  return names
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length))
    .sort();
}
