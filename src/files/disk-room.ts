/** Checks free disk space before the work begins. */
import { statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { LinnetError } from '../errors.ts';
import { fileError, systemErrorCode } from './regular-file.ts';

/** Most bytes reserved for the file system and small files, such as a tokenizer's; an eighth for small outputs. */
const roomForTheRest = 64 << 20;

/**
 * @param folder the output folder; it need not exist yet
 * @param what name of the output, the subject of the error
 * @throws LinnetError `PATH` if the disk lacks room
 */
export async function requireDiskRoom(
  folder: string,
  bytes: number,
  what: string,
  freeBytes: (folder: string) => Promise<number> = freeBytesOf,
): Promise<void> {
  const needed = bytes + Math.min(roomForTheRest, bytes / 8);
  const free = await freeBytes(folder);
  if (free >= needed) return;
  const size = (count: number): string =>
    count < 1e9 ? `${(count / 1e6).toFixed(1)} MB` : `${(count / 1e9).toFixed(2)} GB`;
  throw new LinnetError(
    'PATH',
    `${what} needs ${size(needed)}, but only ${size(free)} are free on the disk of ${resolve(folder, '..')}; ` +
      'make room, or write to another disk',
    { cause: Object.assign(new Error('no room'), { code: 'ENOSPC' }) },
  );
}

/** Free bytes on the disk that holds, or will hold, a folder. */
async function freeBytesOf(folder: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  } catch (error) {
    const parent = dirname(resolve(folder));
    if (systemErrorCode(error) === 'ENOENT' && parent !== resolve(folder)) return freeBytesOf(parent);
    throw fileError('examine the disk of', folder, error);
  }
}
