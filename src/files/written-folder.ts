/**
 * Writes folders, complete or not at all, like `atomic.ts` for files, and decides which folders may be replaced: those Linnet
 * wrote and nobody changed. A list inside the folder has every file's size and hash.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, mkdir, open, readdir, readFile, realpath, rename } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join, posix, relative, resolve, sep } from 'node:path';
import { LinnetError, OptionsError } from '../errors.ts';
import { asCallersError, makeFolder, syncFile, syncFolder, writeJsonAtomic } from './atomic.ts';
import { isJsonObject, parseJsonObject } from './json-object.ts';
import { listNames } from './name-list.ts';
import { fileError, readPart, systemErrorCode } from './regular-file.ts';
import { temporarySibling } from './temporary-files.ts';
import { remove } from './remove.ts';

/** The list's name in its folder. */
export const WRITTEN_FILES = '.linnet-files.json';

/** A longer list is not ours: folders have tens of files. */
const maximumBytes = 1 << 20;
/** Most entries visited; a larger folder counts as foreign. */
const maximumEntries = 10_000;
const shownNames = 3;
/** Bytes hashed at either end of a file: people edit short files, and many GB of weights are replaced as a whole. */
const hashedBytes = 1 << 20;

interface FileMark {
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * Builds a folder under a temporary name and moves it into place when complete. Creates parent folders.
 * @param options.replace allow replacing `dir` if this function wrote it. The old folder is moved aside first and deleted
 *   last; if the process dies between the two renames, it waits under `previousFolder(dir)` and the next call restores it.
 * @throws LinnetError `PATH` if `dir` exists and may not be replaced, like `requireReplaceable`, or whatever `build` threw;
 *   nothing is left behind
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
  await makeFolder(dirname(target));
  const temporary = temporarySibling(target);
  try {
    await mkdir(temporary);
    await build(temporary);
    await listWrittenFiles(temporary);
    await syncTree(temporary);
    if (replace) await requireReplaceable(target); // building takes hours, and people go on working
    await moveFolder(temporary, target, replace);
  } catch (error) {
    await remove(temporary);
    // The caller does not know the temporary name.
    if (error instanceof Error) error.message = error.message.replaceAll(temporary, target);
    throw asCallersError('write', target, error);
  }
}

/**
 * Moves a complete, synced folder to its final name under the same parent; `replace` as in `writeFolderAtomic`.
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
  if (asideNeeded) await remove(previous);
}

/** Where a folder's old content waits while it is being replaced. */
export function previousFolder(dir: string): string {
  const target = resolve(dir);
  return resolve(dirname(target), `.${basename(target)}.previous`);
}

/**
 * Finishes an interrupted replacement: restores the old folder if the new one never arrived, otherwise deletes it. Only the
 * process that writes `dir` may call it: another could disturb its work.
 */
export async function recoverFolder(dir: string): Promise<void> {
  const target = resolve(dir);
  const previous = previousFolder(target);
  if (!(await exists(previous))) return;
  if (await exists(target)) {
    await remove(previous);
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

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    const fault = fileError('examine', path, error);
    if (fault.code === 'NOT_FOUND') return false;
    throw fault;
  }
}

function alreadyExists(target: string): LinnetError {
  return new LinnetError('PATH', `${target} already exists; choose another place, or give \`replace\``);
}

/**
 * Lists the files now in a folder.
 * @param changed the only files to list anew in a complete folder; the list already has the others
 * @throws LinnetError `NOT_FOUND` or `PATH` from the file system
 */
export async function listWrittenFiles(folder: string, changed?: readonly string[]): Promise<void> {
  const before = changed === undefined ? new Map<string, FileMark>() : await writtenFiles(folder);
  if (typeof before === 'string') return;
  const names = changed ?? (await filesBelow(folder)).filter((name) => name !== WRITTEN_FILES).sort();
  const marks = await Promise.all(names.map(async (name) => [name, await markOf(join(folder, name))] as const));
  const list = { format: 'linnet-files', files: Object.fromEntries([...before, ...marks]) };
  await writeJsonAtomic(join(folder, WRITTEN_FILES), list);
}

/** Size and hash of a file; a link and an empty folder have neither. */
async function markOf(path: string): Promise<FileMark> {
  const stats = await lstat(path);
  if (!stats.isFile()) return { bytes: 0, sha256: '' };
  const hash = createHash('sha256');
  await using handle = await open(path);
  for (const start of new Set([0, Math.max(0, stats.size - hashedBytes)])) {
    const bytes = Buffer.alloc(hashedBytes);
    hash.update(bytes.subarray(0, await readPart(handle, bytes, start, path)));
  }
  return { bytes: stats.size, sha256: hash.digest('hex') };
}

/**
 * Refuses to replace a path that may hold files Linnet did not write. A missing path passes.
 * @throws LinnetError `PATH` for a file, a link, the current or home folder or one above either, a folder with files but no
 *   list, and one with unlisted or changed files; the message names them
 */
export async function requireReplaceable(dir: string): Promise<void> {
  const target = resolve(dir);
  let kind: string | undefined;
  try {
    const stats = await lstat(target);
    if (!stats.isDirectory()) kind = stats.isSymbolicLink() ? 'a link' : 'a file';
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return;
    throw fileError('examine', target, error);
  }
  if (kind !== undefined) throw refused(target, `it is ${kind}; Linnet replaces only folders it wrote`);
  const place = await realpath(target);
  const standing = [
    { name: 'the current folder', path: process.cwd() },
    { name: 'the home folder', path: homedir() },
  ];
  for (const { name, path } of standing) {
    const inside = await realpath(path).catch(() => resolve(path));
    if (isSameOrAbove(place, inside)) throw refused(target, `${name} ${place === inside ? 'is it' : 'lies in it'}`);
  }
  const present = (await filesBelow(target)).filter((name) => name !== WRITTEN_FILES);
  const written = await writtenFiles(target);
  if (typeof written === 'string') {
    if (present.length === 0) return;
    const reason =
      written === 'absent'
        ? `Linnet did not write it (it has no ${WRITTEN_FILES})`
        : `its ${WRITTEN_FILES}, which says what Linnet wrote, is unreadable`;
    throw refused(target, `${reason}, and ${shown(present)} would be lost`);
  }
  const others = present.filter((name) => !written.has(name));
  if (others.length > 0) {
    throw refused(target, `files that Linnet did not write would be lost: ${shown(others)}`);
  }
  const changed: string[] = [];
  for (const name of present) {
    const { bytes, sha256 } = await markOf(join(target, name));
    const listed = written.get(name);
    if (listed?.bytes !== bytes || listed.sha256 !== sha256) changed.push(name);
  }
  if (changed.length > 0)
    throw refused(target, `files changed since Linnet wrote them would be lost: ${shown(changed)}`);
}

/**
 * Checks that a new folder may go here, before the work that makes it.
 * @param run the folder of the work's progress
 * @throws LinnetError `PATH` if the folder exists; with `replace`, like `requireReplaceable`; `OptionsError` if `run` lies in it
 */
export async function requireFree(out: string, replace: boolean, run?: string): Promise<void> {
  if (run !== undefined && `${resolve(run)}${sep}`.startsWith(`${resolve(out)}${sep}`)) {
    throw new OptionsError(
      `\`run\` is ${run}, inside the result ${out}, which appears at the end; name another folder`,
    );
  }
  if (replace) await requireReplaceable(out);
  else if (existsSync(out)) {
    throw new LinnetError('PATH', `${out} exists; name another folder with \`out\`, or give \`replace\``);
  }
}

function refused(target: string, reason: string): LinnetError {
  return new LinnetError('PATH', `${target} is not replaced: ${reason}. Name another place, or remove it yourself`);
}

function shown(names: readonly string[]): string {
  return listNames([...names].sort(), shownNames);
}

function isSameOrAbove(folder: string, path: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}

/** Size and hash by name, from a folder's list. */
async function writtenFiles(folder: string): Promise<ReadonlyMap<string, FileMark> | 'absent' | 'unreadable'> {
  const path = join(folder, WRITTEN_FILES);
  try {
    const stats = await lstat(path);
    if (!stats.isFile() || stats.size > maximumBytes) return 'unreadable';
    const { files } = parseJsonObject(await readFile(path), path);
    return isJsonObject(files)
      ? new Map(Object.entries(files).map(([name, mark]) => [name, readMark(mark)]))
      : 'unreadable';
  } catch (error) {
    if (error instanceof LinnetError) return 'unreadable';
    if (systemErrorCode(error) === 'ENOENT') return 'absent';
    throw fileError('read', path, error);
  }
}

/** A malformed mark matches no file. */
function readMark(mark: unknown): FileMark {
  const { bytes, sha256 } = isJsonObject(mark) ? mark : {};
  return { bytes: typeof bytes === 'number' ? bytes : -1, sha256: typeof sha256 === 'string' ? sha256 : '' };
}

/** All files and links at any depth, and empty folders (with a trailing slash); follows no links. */
async function filesBelow(folder: string): Promise<string[]> {
  const found: string[] = [];
  const open = [folder];
  for (let next = open.pop(); next !== undefined && found.length < maximumEntries; next = open.pop()) {
    const name = (entry: string): string =>
      relative(folder, join(next ?? '', entry))
        .split(sep)
        .join(posix.sep);
    const entries = await readdir(next, { withFileTypes: true });
    if (entries.length === 0 && next !== folder) found.push(`${name('')}/`);
    for (const entry of entries) {
      if (entry.isDirectory()) open.push(join(next, entry.name));
      else found.push(name(entry.name));
    }
  }
  return found;
}
