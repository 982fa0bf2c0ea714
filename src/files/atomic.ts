/**
 * Atomic file writes: a reader, or the next run after a power cut, sees the old content or the new, never a part. Writes
 * under a temporary name, fsyncs, renames, and fsyncs the parent folder. `written-folder.ts` does the same for folders.
 */
import { type FileHandle, link, lstat, mkdir, mkdtemp, open, rename, rm, stat } from 'node:fs/promises';
import { existsSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { LinnetError, reasonOf } from '../errors.ts';
import { fileError, systemErrorCode } from './regular-file.ts';
import { remove } from './remove.ts';
import { temporarySibling } from './temporary-files.ts';

/**
 * Replaces or creates a file.
 * @param data the content, or a function that writes it to the given handle and leaves it open
 * @throws LinnetError `NOT_FOUND` or `PATH` from the file system, or the function's own error; the old file then stays
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array | ((handle: FileHandle) => Promise<void>),
): Promise<void> {
  const target = resolve(path);
  await throughTemporary('write', target, data, true, (temporary) => rename(temporary, target));
}

/** Replaces or creates a file with a value as JSON, indented for people. @throws LinnetError like `writeFileAtomic` */
export async function writeJsonAtomic(path: string, value: unknown): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(value, undefined, 2)}\n`);
}

/**
 * Creates a file, complete at once, unless it exists: when several processes create the same file, one succeeds.
 * @param durable whether it must outlive a power cut. Default true
 * @returns false if the file exists; it stays as it is
 * @throws LinnetError `NOT_FOUND` or `PATH` from the file system, also if it has no hard links
 */
export async function createFileAtomic(
  path: string,
  data: string | Uint8Array,
  { durable = true }: { durable?: boolean } = {},
): Promise<boolean> {
  const target = resolve(path);
  // Unlike a rename, a link replaces nothing.
  return await throughTemporary('create', target, data, durable, async (temporary) => {
    try {
      await link(temporary, target);
      return true;
    } catch (error) {
      if (systemErrorCode(error) === 'EEXIST') return false;
      throw error;
    }
  });
}

/** Writes a temporary file, which `place` gives its name; removes the temporary name in any case. */
async function throughTemporary<Result>(
  action: string,
  target: string,
  data: Parameters<typeof writeFileAtomic>[1],
  durable: boolean,
  place: (temporary: string) => Promise<Result>,
): Promise<Result> {
  const temporary = temporarySibling(target);
  try {
    {
      await using handle = await open(temporary, 'wx');
      await (typeof data === 'function' ? data(handle) : handle.writeFile(data));
      if (durable) await handle.sync();
    }
    const result = await place(temporary);
    if (durable) await syncFolder(dirname(target));
    return result;
  } catch (error) {
    throw asCallersError(action, target, error);
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * Checks that a file can be written, before the work that makes its content.
 * @throws LinnetError `NOT_FOUND` or `PATH` from the file system, `PATH` if a folder has the name
 */
export async function requireWritable(path: string): Promise<void> {
  const target = resolve(path);
  const temporary = temporarySibling(target);
  try {
    const stats = await lstat(target).catch(() => undefined);
    if (stats?.isDirectory() === true) throw new LinnetError('PATH', `cannot write ${target}: it is a folder`);
    await (await open(temporary, 'wx')).close();
    await rm(temporary, { force: true });
  } catch (error) {
    throw asCallersError('write', target, error);
  }
}

/** Makes a file, or a folder's names, durable. */
export async function syncFile(path: string): Promise<void> {
  await using handle = await open(path, 'r');
  await handle.sync();
}

/** Makes renames inside a folder durable. Windows cannot open folders and needs no such call. */
export async function syncFolder(dir: string): Promise<void> {
  if (process.platform !== 'win32') await syncFile(dir);
}

/** Wraps system errors; a callback's own errors pass unchanged. */
export function asCallersError(action: string, path: string, error: unknown): unknown {
  const code = systemErrorCode(error);
  if (code === undefined) return error;
  // The system's message names the temporary file, which the caller does not know.
  return code === 'ENOENT' && !existsSync(dirname(path))
    ? new LinnetError('NOT_FOUND', `cannot ${action} ${path}: there is no folder ${dirname(path)}; make it first`, {
        cause: error,
      })
    : fileError(action, path, error);
}

/**
 * Creates a folder and its parents, one by one: Node's own `recursive` never returns where a parent refuses, as in /proc.
 * @returns whether it was created; false if it exists
 * @throws LinnetError `PATH` from the file system
 */
export async function makeFolder(path: string): Promise<boolean> {
  const parent = dirname(resolve(path));
  if (parent !== path && !existsSync(parent)) await makeFolder(parent);
  try {
    await mkdir(path);
    return true;
  } catch (cause) {
    if ((await stat(path).catch(() => undefined))?.isDirectory() === true) return false;
    throw new LinnetError('PATH', `cannot create ${path}: ${reasonOf(cause)}`, { cause });
  }
}

/** Makes a folder in the system's temporary one, removed when disposed of or at the process's end. @throws LinnetError `NOT_FOUND` or `PATH` */
export async function makeTemporaryFolder(name: string): Promise<{ path: string } & AsyncDisposable> {
  try {
    const path = await mkdtemp(join(tmpdir(), `linnet-${name}-`));
    const clear = (): void => rmSync(path, { recursive: true, force: true });
    process.on('exit', clear);
    return {
      path,
      async [Symbol.asyncDispose]() {
        await remove(path);
        process.off('exit', clear);
      },
    };
  } catch (error) {
    throw fileError('use', `${tmpdir()} (TMPDIR can name another folder)`, error);
  }
}
