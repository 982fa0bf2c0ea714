/**
 * Sessions as files, a folder for each. Servers of one model may share the folder: a version is a file of its own,
 * `VERSION.session`, or `VERSION.SECONDS.session` where it has a time to live, and of two who create the same version the
 * file system lets one.
 */
import { mkdtemp, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeSession, restoreSession } from '../../decoding/state/session-file.ts';
import type { Snapshot } from '../../decoding/state/session-format.ts';
import { LinnetError } from '../../errors.ts';
import { createFileAtomic, makeFolder } from '../../files/atomic.ts';
import { fileError, systemErrorCode } from '../../files/regular-file.ts';
import {
  idsOf,
  nameOf,
  type SessionWrite,
  type StateModel,
  type SessionName,
  type SessionStore,
  type StoredSession,
} from '../../engine/session-store.ts';
import { remove } from '../../files/remove.ts';

interface VersionFile {
  readonly file: string;
  readonly version: number;
  readonly ttl: number | undefined;
}

/** Milliseconds between two looks for sessions whose time is over and that nobody has asked for. */
const sweepEvery = 600_000;

const versionPattern = /^([1-9]\d{0,14})(?:\.([1-9]\d{0,8}))?\.session$/;

export class FolderStore implements SessionStore {
  readonly #folder: string;
  readonly #model: StateModel;
  /** Whether the folder is gone with the process. */
  readonly #scratch: boolean;
  #swept = performance.now();

  private constructor(folder: string, model: StateModel, scratch: boolean) {
    this.#folder = folder;
    this.#model = model;
    this.#scratch = scratch;
  }

  /** Makes the folder if there is none. @throws LinnetError `PATH` from the file system */
  static async open(folder: string, model: StateModel): Promise<FolderStore> {
    await makeFolder(folder);
    return new FolderStore(folder, model, false);
  }

  /** A temporary folder, deleted at the end: sessions on disk that do not outlive the server. */
  static async scratch(model: StateModel): Promise<FolderStore> {
    return new FolderStore(await mkdtemp(join(tmpdir(), 'linnet-sessions-')), model, true);
  }

  async read(name: SessionName): Promise<StoredSession | undefined> {
    // A version may be replaced between finding its file and opening it; then there is a newer one.
    for (let attempt = 0; ; attempt++) {
      const newest = await this.#newestIn(this.#place(name));
      if (newest === undefined) return undefined;
      const { engine, fingerprint } = this.#model;
      try {
        const session = await restoreSession(join(this.#place(name), newest.file), engine, fingerprint);
        return { session, version: newest.version, ttl: newest.ttl };
      } catch (error) {
        if (!(error instanceof LinnetError && error.code === 'NOT_FOUND') || attempt === 10) throw error;
      }
    }
  }

  async version(name: SessionName): Promise<number | undefined> {
    return (await this.#newestIn(this.#place(name)))?.version;
  }

  async write(name: SessionName, session: Snapshot, { expected, ttl }: SessionWrite = {}): Promise<number | undefined> {
    const known = (await this.version(name)) ?? 0;
    if (known !== (expected ?? known)) return undefined;
    const version = known + 1;
    const bytes = encodeSession({ ...session, fingerprint: this.#model.fingerprint });
    const place = this.#place(name);
    const file = `${version}${ttl === undefined ? '' : `.${ttl}`}.session`;
    try {
      if (known === 0) await makeFolder(place);
      if (!(await createFileAtomic(join(place, file), bytes, { durable: !this.#scratch }))) return undefined;
    } catch (error) {
      // Removes no folder that holds anything.
      await rmdir(place).catch(() => undefined);
      // Without its folder the session was removed meanwhile.
      if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
      throw error;
    }
    // A writer that was held up until others made this version and a newer one, and deleted theirs, comes too late.
    const versions = await this.#versions(place);
    const others = versions.filter((other) => other.file !== file);
    if (others.some((other) => other.version >= version)) {
      await rm(join(place, file), { force: true });
      return undefined;
    }
    for (const older of others) await rm(join(place, older.file), { force: true });
    if (performance.now() - this.#swept > sweepEvery) await this.#sweep();
    return version;
  }

  async delete(name: SessionName): Promise<boolean> {
    const known = (await this.#newestIn(this.#place(name))) !== undefined;
    await remove(this.#place(name));
    return known;
  }

  async list(owner: string): Promise<string[]> {
    return idsOf(owner, await readdir(this.#folder));
  }

  async close(): Promise<void> {
    if (this.#scratch) await remove(this.#folder);
  }

  async #sweep(): Promise<void> {
    this.#swept = performance.now();
    for (const name of await readdir(this.#folder)) await this.#newestIn(join(this.#folder, name));
  }

  /** The newest version; one whose time is over is removed. */
  async #newestIn(place: string): Promise<VersionFile | undefined> {
    const [newest] = (await this.#versions(place)).sort((a, b) => b.version - a.version);
    if (newest?.ttl === undefined) return newest;
    const saved = await stat(join(place, newest.file)).catch(() => undefined);
    if (saved !== undefined && Date.now() - saved.mtimeMs < 1000 * newest.ttl) return newest;
    await remove(place);
    return undefined;
  }

  async #versions(place: string): Promise<VersionFile[]> {
    let files: string[];
    try {
      files = await readdir(place);
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return [];
      throw fileError('read', place, error);
    }
    return files.flatMap((file) => {
      const match = versionPattern.exec(file);
      if (match === null) return [];
      return [{ file, version: Number(match[1]), ttl: match[2] === undefined ? undefined : Number(match[2]) }];
    });
  }

  #place(name: SessionName): string {
    return join(this.#folder, nameOf(name));
  }
}
