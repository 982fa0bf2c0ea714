/**
 * Writing so that a reader, or the next run after a power cut, sees either the old content or the new one, never a part:
 * write under a temporary name, fsync, rename, fsync the folder that holds the name.
 */
import type { FileHandle } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { link, lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { LinnetError } from '../errors.ts';
import { fileError, systemErrorCode } from './regular-file.ts';
import { temporarySibling } from './temporary-files.ts';
import { listWrittenFiles, requireReplaceable } from './written-folder.ts';

/**
 * Replaces or creates a file.
 * @param data the content, or a function that writes it to the handle it is given (which it must not close)
 * @throws LinnetError `NOT_FOUND` or `PATH` from the file system, or the function's own error; the old file stays then
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array | ((handle: FileHandle) => Promise<void>),
): Promise<void> {
  const target = resolve(path);
  const temporary = temporarySibling(target);
  let handle: FileHandle | undefined;
  try {
    handle = await open(temporary, 'wx');
    if (typeof data === 'function') await data(handle);
    else await handle.writeFile(data);
    await handle.sync();
    await handle.close();
    handle = undefined;
    await rename(temporary, target);
    await syncFolder(dirname(target));
  } catch (error) {
    await handle?.close();
    await rm(temporary, { force: true });
    throw asCallersError('write', target, error);
  }
}

/**
 * Creates a file, complete at once, where there is none: of several who create the same file, in any process, one does.
 * @param durable whether it must outlive a power cut. Default true
 * @returns false where there is one already; it stays as it is
 * @throws LinnetError `NOT_FOUND` or `PATH` from the file system, also where that has no hard links
 */
export async function createFileAtomic(
  path: string,
  data: Uint8Array,
  { durable = true }: { durable?: boolean } = {},
): Promise<boolean> {
  const target = resolve(path);
  const temporary = temporarySibling(target);
  try {
    const handle = await open(temporary, 'wx');
    try {
      await handle.writeFile(data);
      if (durable) await handle.sync();
    } finally {
      await handle.close();
    }
    // Unlike a rename, a link replaces nothing.
    await link(temporary, target);
    await rm(temporary, { force: true });
    if (durable) await syncFolder(dirname(target));
    return true;
  } catch (error) {
    await rm(temporary, { force: true });
    if (systemErrorCode(error) === 'EEXIST') return false;
    throw asCallersError('create', target, error);
  }
}

/**
 * Finds out whether a file can be written, before the work that makes its content.
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

/**
 * Builds a folder under a temporary name and moves it into place when complete. Parent folders are created.
 * @param build fills the temporary folder it is given
 * @param options.replace allow `dir` to be a folder that this function wrote, and replace it. The old folder is moved aside
 *   first and deleted last; if the process dies between the two renames, it waits under `previousFolder(dir)` and the next
 *   call brings it back.
 * @throws LinnetError `PATH` if `dir` exists and may not be replaced, as `requireReplaceable`, or what `build` threw; nothing
 *   is left behind then
 */
export async function writeFolderAtomic(
  dir: string,
  build: (temporaryDir: string) => Promise<void>,
  { replace = false }: { replace?: boolean } = {},
): Promise<void> {
  const target = resolve(dir);
  await recoverFolder(target);
  if (replace) await requireReplaceable(target);
  else if (await exists(target)) throw alreadyExists(target);
  const temporary = temporarySibling(target);
  try {
    await mkdir(temporary, { recursive: true });
    await build(temporary);
    await listWrittenFiles(temporary);
    await syncTree(temporary);
    if (replace) await requireReplaceable(target); // building takes hours, and people go on working
    await moveFolder(temporary, target, replace);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw asCallersError('write', target, error);
  }
}

/**
 * Moves a complete, synced folder to its final name in the same parent; `replace` as in `writeFolderAtomic`.
 * @throws LinnetError `PATH` if the target exists and may not be replaced
 */
export async function moveFolder(from: string, dir: string, replace: boolean): Promise<void> {
  const target = resolve(dir);
  const previous = previousFolder(target);
  const asideNeeded = await exists(target);
  if (asideNeeded && !replace) throw alreadyExists(target);
  if (asideNeeded) await rename(target, previous);
  try {
    await rename(from, target);
  } catch (error) {
    if (asideNeeded) await rename(previous, target);
    throw ['ENOTEMPTY', 'EEXIST'].includes(systemErrorCode(error) ?? '') ? alreadyExists(target) : error;
  }
  await syncFolder(dirname(target));
  if (asideNeeded) await rm(previous, { recursive: true, force: true });
}

/** Where the old content of a folder waits while it is being replaced. */
export function previousFolder(dir: string): string {
  const target = resolve(dir);
  return resolve(dirname(target), `.${basename(target)}.previous`);
}

/**
 * Finishes a replacement that was killed: brings the old folder back if the new one never arrived, else deletes it.
 * For the one process that writes `dir`; a reader must not call it while a writer may be at work.
 */
export async function recoverFolder(dir: string): Promise<void> {
  const target = resolve(dir);
  const previous = previousFolder(target);
  if (!(await exists(previous))) return;
  if (await exists(target)) {
    await rm(previous, { recursive: true, force: true });
  } else {
    await rename(previous, target);
    await syncFolder(dirname(target));
  }
}

/** Makes every file and folder below `dir` durable. */
export async function syncTree(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = resolve(dir, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else if (entry.isFile()) await syncFile(path);
  }
  await syncFolder(dir);
}

async function syncFile(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes renames inside a folder durable. Windows cannot open folders and needs no such call. */
async function syncFolder(dir: string): Promise<void> {
  if (process.platform !== 'win32') await syncFile(dir);
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw fileError('examine', path, error);
  }
}

function alreadyExists(target: string): LinnetError {
  return new LinnetError('PATH', `${target} already exists; choose another place, or allow replacing it`);
}

/** System errors are wrapped; any other error of a callback is the caller's own and passes unchanged. */
function asCallersError(action: string, path: string, error: unknown): unknown {
  const code = systemErrorCode(error);
  if (code === undefined) return error;
  // The system's message names the temporary file, which the caller does not know.
  return code === 'ENOENT' && !existsSync(dirname(path))
    ? new LinnetError('NOT_FOUND', `cannot ${action} ${path}: there is no folder ${dirname(path)}; make it first`, {
        cause: error,
      })
    : fileError(action, path, error);
}
