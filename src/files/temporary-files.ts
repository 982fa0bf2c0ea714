/**
 * Temporary names of files and folders being written, and the leftovers of killed processes. The name identifies the writing
 * process, which tells leftovers from work under way.
 */
import { randomBytes } from 'node:crypto';
import { type Dirent, readFileSync, readlinkSync } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { hostname } from 'node:os';
import { entriesOf, fileError, systemErrorCode } from './regular-file.ts';
import { sha256 } from './digest.ts';
import { remove } from './remove.ts';

/** `.` name `.` space `-` process id `-` its start, or 0 `-` random `.tmp` */
const pattern = /^\.(.+)\.([0-9a-f]{8})-([1-9]\d{0,9})-(0|[0-9a-f]{8}\.\d{1,20})-[0-9a-f]{12}\.tmp$/s;

/** File names end at 255 bytes; the rest of the pattern takes at most 80. */
const longestName = 160;

/** Most entries visited; a larger tree is searched in part. */
const maximumEntries = 1_000_000;

/** A new name in `target`'s folder, to write it under until it is complete. */
export function temporarySibling(target: string): string {
  const begun = beginningOf(process.pid)?.replace(':', '.') ?? '0';
  const random = randomBytes(6).toString('hex');
  const owner = `${processSpace()}-${process.pid}-${begun}-${random}`;
  return resolve(dirname(target), `.${shortened(basename(target))}.${owner}.tmp`);
}

function shortened(name: string): string {
  return Buffer.byteLength(name) <= longestName ? name : sha256(name);
}

/** An unfinished file or folder. */
export interface TemporaryFile {
  readonly path: string;
  /** The path it was to replace. */
  readonly target: string;
  /** The process that wrote it. */
  readonly pid: number;
  /** `gone`: its writer has ended. `elsewhere`: the writer is on another host or in a container and cannot be checked. */
  readonly writer: 'gone' | 'alive' | 'elsewhere';
  /** Sum over all its files. */
  readonly bytes: number;
}

/**
 * The temporary files and folders in a folder and below it; follows no links and does not search temporary folders.
 * @throws LinnetError `NOT_FOUND` or `PATH` if `folder` cannot be read; skips unreadable folders below it
 */
export async function findTemporaryFiles(folder: string): Promise<TemporaryFile[]> {
  const found: TemporaryFile[] = [];
  const open = [resolve(folder)];
  let seen = 0;
  for (let next = open.pop(); next !== undefined && seen < maximumEntries; next = open.pop()) {
    const entries = await entriesOf(next, next === resolve(folder));
    seen += entries.length;
    for (const entry of entries) {
      const temporary = await temporaryOf(next, entry);
      if (temporary !== undefined) found.push(temporary);
      else if (entry.isDirectory()) open.push(join(next, entry.name));
    }
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/**
 * Removes everything that ended processes left for `target`: temporary names next to it, also those for paths that begin with
 * its name (`model.run` for `model`), and temporary names inside such folders.
 */
export async function removeAbandoned(target: string): Promise<TemporaryFile[]> {
  const name = basename(resolve(target));
  const parent = dirname(resolve(target));
  const own = (other: string): boolean => other === shortened(name) || other.startsWith(`${name}.`);
  const found: TemporaryFile[] = [];
  const beside = await readdir(parent, { withFileTypes: true }).catch((): Dirent[] => []);
  for (const entry of beside) {
    const temporary = await temporaryOf(parent, entry);
    if (temporary !== undefined && own(basename(temporary.target))) found.push(temporary);
    else if (entry.isDirectory() && own(entry.name)) {
      for (const inside of await findTemporaryFiles(join(parent, entry.name))) found.push(inside);
    }
  }
  return removeThose(found);
}

/** Removes the files whose writer is gone, and returns them. @throws LinnetError `PATH` if one cannot be removed */
export async function removeThose(files: readonly TemporaryFile[]): Promise<TemporaryFile[]> {
  const removable = files.filter(({ writer }) => writer === 'gone');
  for (const { path } of removable) {
    try {
      await remove(path);
    } catch (error) {
      throw fileError('remove', path, error);
    }
  }
  return removable;
}

async function temporaryOf(folder: string, entry: Dirent): Promise<TemporaryFile | undefined> {
  const match = pattern.exec(entry.name);
  if (match === null || !(entry.isFile() || entry.isDirectory())) return undefined;
  const [, target, space, process, begun] = match;
  const pid = Number(process);
  const here = space === processSpace();
  const alive = here && isProcessAlive(pid, begun === '0' ? null : begun.replace('.', ':'));
  const path = join(folder, entry.name);
  const writer = alive ? 'alive' : here ? 'gone' : 'elsewhere';
  return { path, target: join(folder, target), pid, writer, bytes: await bytesOf(path) };
}

/** Bytes of a file, or of all files in a folder. Files that vanish meanwhile count 0. */
async function bytesOf(path: string): Promise<number> {
  let total = 0;
  const open = [path];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const stats = await lstat(next).catch(() => undefined);
    if (stats?.isFile() === true) total += stats.size;
    if (stats?.isDirectory() !== true) continue;
    for (const name of await readdir(next).catch((): string[] => [])) open.push(join(next, name));
  }
  return total;
}

/**
 * When a process began: boot id and clock ticks since boot on Linux; null elsewhere, and for a process that is gone. Tells a
 * reused process id from its former owner.
 */
export function beginningOf(pid: number): string | null {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const status = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The program's name, in parentheses, may hold spaces; the start is the 22nd field, the 20th after the name.
    const ticks = status.slice(status.lastIndexOf(')') + 2).split(' ')[19];
    return `${boot.slice(0, 8)}:${ticks}`;
  } catch {
    return null;
  }
}

/** Whether a process on this machine is alive. @param begun from `beginningOf`, null if unknown */
export function isProcessAlive(pid: number, begun: string | null): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (systemErrorCode(error) === 'ESRCH') return false;
  }
  return begun === null || beginningOf(pid) === begun;
}

/** Eight digits for the host and, on Linux, the container: process ids are valid only inside one. */
function processSpace(): string {
  let namespace = '';
  try {
    namespace = readlinkSync('/proc/self/ns/pid');
  } catch {
    // a system without namespaces
  }
  return sha256(`${hostname()} ${namespace}`).slice(0, 8);
}
