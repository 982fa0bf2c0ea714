/**
 * Sessions as files, a folder for each. Servers of one model may share the folder: a version is a file of its own,
 * `VERSION.session`, or `VERSION.SECONDS.session` if it has a time to live, and of two who create the same version the
 * file system lets one.
 */
import { readdir, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeSession, restoreSession } from '../../decoding/state/session-file.ts';
import { LinnetError } from '../../errors.ts';
import { createFileAtomic, makeFolder, makeTemporaryFolder } from '../../files/atomic.ts';
import { fileError, systemErrorCode } from '../../files/regular-file.ts';
import { idsOf, nameOf, type StateModel, type SessionName, type SessionStore } from '../../engine/session-store.ts';
import { remove } from '../../files/remove.ts';

interface VersionFile {
  readonly file: string;
  readonly version: number;
  readonly ttl: number | undefined;
}

/** Milliseconds between two looks for sessions whose time is over and that nobody has asked for. */
const sweepEvery = 600_000;

const versionPattern = /^([1-9]\d{0,14})(?:\.([1-9]\d{0,8}))?\.session$/;

/** Makes the folder if there is none. @throws LinnetError `PATH` from the file system */
export async function folderStore(folder: string, model: StateModel): Promise<SessionStore> {
  await makeFolder(folder);
  return storeIn(folder, model, false);
}

/** In a temporary folder, deleted at the end. @throws LinnetError `PATH` */
export async function scratchStore(model: StateModel): Promise<SessionStore> {
  return storeIn((await makeTemporaryFolder('sessions')).path, model, true);
}

/** @param isScratch whether the folder is gone with the process */
function storeIn(folder: string, { engine, fingerprint }: StateModel, isScratch: boolean): SessionStore {
  const placeOf = (name: SessionName): string => join(folder, nameOf(name));
  let swept = performance.now();
  return {
    async read(name) {
      const place = placeOf(name);
      // A version may be replaced between finding its file and opening it; then there is a newer one.
      for (let attempt = 0; ; attempt++) {
        const newest = await newestIn(place);
        if (newest === undefined) return undefined;
        try {
          const session = await restoreSession(join(place, newest.file), engine, fingerprint);
          return { session, version: newest.version, ttl: newest.ttl };
        } catch (error) {
          if (!(error instanceof LinnetError && error.code === 'NOT_FOUND') || attempt === 10) throw error;
        }
      }
    },

    async version(name) {
      return (await newestIn(placeOf(name)))?.version;
    },

    async write(name, session, { expected, ttl } = {}) {
      const place = placeOf(name);
      const known = (await newestIn(place))?.version ?? 0;
      if (known !== (expected ?? known)) return undefined;
      const version = known + 1;
      const bytes = encodeSession({ ...session, fingerprint });
      const file = `${version}${ttl === undefined ? '' : `.${ttl}`}.session`;
      try {
        if (known === 0) await makeFolder(place);
        if (!(await createFileAtomic(join(place, file), bytes, { durable: !isScratch }))) return undefined;
      } catch (error) {
        // Removes no folder that holds anything.
        await rmdir(place).catch(() => undefined);
        // Without its folder the session was removed meanwhile.
        if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
        throw error;
      }
      // A writer that was held up until others made this version and a newer one, and deleted theirs, comes too late.
      const others = (await versionsIn(place)).filter((other) => other.file !== file);
      if (others.some((other) => other.version >= version)) {
        await rm(join(place, file), { force: true });
        return undefined;
      }
      for (const older of others) await rm(join(place, older.file), { force: true });
      if (performance.now() - swept > sweepEvery) {
        swept = performance.now();
        for (const other of await readdir(folder)) await newestIn(join(folder, other));
      }
      return version;
    },

    async delete(name) {
      const place = placeOf(name);
      const known = (await newestIn(place)) !== undefined;
      await remove(place);
      return known;
    },

    async list(owner) {
      return idsOf(owner, await readdir(folder));
    },

    async close() {
      if (isScratch) await remove(folder);
    },
  };
}

/** The newest version; one whose time is over is removed. */
async function newestIn(place: string): Promise<VersionFile | undefined> {
  const [newest] = (await versionsIn(place)).sort((a, b) => b.version - a.version);
  if (newest?.ttl === undefined) return newest;
  const saved = await stat(join(place, newest.file)).catch(() => undefined);
  if (saved !== undefined && Date.now() - saved.mtimeMs < 1000 * newest.ttl) return newest;
  await remove(place);
  return undefined;
}

async function versionsIn(place: string): Promise<VersionFile[]> {
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
