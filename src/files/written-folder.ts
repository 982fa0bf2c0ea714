/**
 * Which folders may be replaced: those that Linnet wrote, as a list of their files that it leaves inside says, and that
 * hold nothing else since.
 */
import { lstat, readdir, readFile, realpath, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, posix, relative, resolve, sep } from 'node:path';
import { LinnetError } from '../errors.ts';
import { listNames } from './name-list.ts';
import { fileError, systemErrorCode } from './regular-file.ts';

/** The list, in the folder itself. */
export const WRITTEN_FILES = '.linnet-files.json';

/** A list of more bytes is not ours: folders have tens of files. */
const maximumBytes = 1 << 20;
/** Limit on the entries looked at; a larger folder counts as foreign. */
const maximumEntries = 10_000;
const shownNames = 3;

/** Writes the list of the files that are in a folder now. */
export async function listWrittenFiles(folder: string): Promise<void> {
  const files = (await filesBelow(folder)).filter((name) => name !== WRITTEN_FILES).sort();
  await writeFile(join(folder, WRITTEN_FILES), `${JSON.stringify({ format: 'linnet-files', files }, undefined, 2)}\n`);
}

/**
 * Refuses to replace a path that may hold files not written by Linnet. A path that does not exist passes.
 * @throws LinnetError `PATH` for a file, a link, the current folder or one above it, the home folder or one above it, a folder
 *   with files and without the list, and one with files that are not in it; the message names the files that would be lost
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
  if (kind !== undefined) throw refused(target, `it is ${kind}, and only folders that Linnet wrote are replaced`);
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
  if (written === undefined) {
    if (present.length === 0) return;
    throw refused(target, `Linnet did not write it (it has no ${WRITTEN_FILES}), and ${shown(present)} would be lost`);
  }
  const others = present.filter((name) => !written.has(name));
  if (others.length > 0) {
    throw refused(target, `it also holds what Linnet did not write, which would be lost: ${shown(others)}`);
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

/** Undefined where there is no list, or none that we wrote. */
async function writtenFiles(folder: string): Promise<ReadonlySet<string> | undefined> {
  const path = join(folder, WRITTEN_FILES);
  try {
    const stats = await lstat(path);
    if (!stats.isFile() || stats.size > maximumBytes) return undefined;
    const parsed: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (typeof parsed !== 'object' || parsed === null || !('files' in parsed) || !Array.isArray(parsed.files)) {
      return undefined;
    }
    return new Set(parsed.files.filter((name) => typeof name === 'string'));
  } catch (error) {
    if (error instanceof SyntaxError || systemErrorCode(error) === 'ENOENT') return undefined;
    throw fileError('read', path, error);
  }
}

/** All files and links at any depth, and empty folders (with a slash at the end); links are not followed. */
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
