/**
 * Opens untrusted files. A model folder can come from an archive or a download and hold links to private files, pipes that
 * block forever, or names that climb out of the folder. Each has been an advisory against a loader of model data.
 */
import { constants, type Dirent, type Stats } from 'node:fs';
import { type FileHandle, open, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, resolve, sep } from 'node:path';
import { LinnetError, reasonOf } from '../errors.ts';
import { checkPlainFileName } from './name-list.ts';

/** Bytes that one read or write asks for; a single system call cannot move more than 2 GB. */
export const TRANSFER_BYTES = 16 * 1024 * 1024;

/** An open regular file. Dispose of it, or close its handle. */
export interface OpenFile extends AsyncDisposable {
  readonly handle: FileHandle;
  readonly size: number;
  /** Absolute and free of links for a file in a folder. */
  readonly path: string;
  /** Changes when another file takes the path, or the file is written to. */
  readonly version: string;
  /** @throws LinnetError `MISMATCH` if another file took the path, or the file was written to */
  readonly unchanged: () => Promise<void>;
}

/** The `code` of a system error, such as 'ENOENT', or undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** Wraps a file-system error. Our own errors pass unchanged. */
export function fileError(action: string, path: string, error: unknown): LinnetError {
  if (error instanceof LinnetError) return error;
  const code = ['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? '') ? 'NOT_FOUND' : 'PATH';
  return new LinnetError(code, `cannot ${action} ${path}: ${reasonOf(error)}`, { cause: error });
}

/**
 * A folder's entries.
 * @param isAsked whether an unreadable folder is an error; otherwise it counts as empty
 * @throws LinnetError `NOT_FOUND` or `PATH`
 */
export async function entriesOf(folder: string, isAsked = true): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if (isAsked) throw fileError('read', folder, error);
    return [];
  }
}

/**
 * Opens a file the user named; follows links.
 * @throws LinnetError `NOT_FOUND`, or `PATH` if it is a folder, pipe or device
 */
export function openRegularFile(path: string): Promise<OpenFile> {
  return openChecked(path, { resolved: false, single: false });
}

/**
 * Links accepted instead of a regular file in the folder.
 * - `followed`: a link to anywhere, or one of several hard links. For files parsed before use: models lie in caches, on other
 *   disks, in deduplicated stores.
 * - `same-name`: as `followed`, but a symbolic link out of the folder must lead to a file of the same name, or into the
 *   Hugging Face hub's cache. For files copied unread: a link called merges.txt must not publish a private key.
 * - `own`: the folder's own file, with one name. For exported folders, whose files are handed to the engine by path.
 */
export type LinkRule = 'followed' | 'same-name' | 'own';

/**
 * Opens a file in a folder.
 * @param links default `followed`
 * @throws LinnetError `NOT_FOUND`, or `PATH` saying which rule refuses the file
 */
export async function openInFolder(folder: string, name: string, links: LinkRule = 'followed'): Promise<OpenFile> {
  checkPlainFileName(name, folder);
  const path = resolve(folder, name);
  let root: string;
  let target: string;
  try {
    root = await realpath(folder);
    target = await realpath(path);
  } catch (error) {
    throw fileError('open', path, error);
  }
  if (!isInside(root, target) && dirname(target) !== hubBlobFolder(root)) refuseOutside[links](path, target);
  return openChecked(target, { resolved: true, single: links === 'own' });
}

/** How each rule treats a link that leads out of its folder. */
const refuseOutside: Readonly<Record<LinkRule, (path: string, target: string) => void>> = {
  followed: () => undefined,
  'same-name': (path, target) => {
    if (basename(path) === basename(target)) return;
    throw new LinnetError(
      'PATH',
      `${path} is a link that leaves its folder, to a file of another name (${target}); files that are copied with a model ` +
        'may be links to files of the same name only; replace it with a copy of the file',
    );
  },
  own: (path, target) => {
    throw new LinnetError(
      'PATH',
      `${path} is a link that leaves its folder (to ${target}); ${ownRule}; replace it with a copy of the file`,
    );
  },
};

const ownRule = 'an exported folder may come from anyone, so it must contain its own files';

/**
 * Reads a whole file of at most `limit` bytes in a folder; same checks as `openInFolder`.
 * @throws LinnetError `FORMAT` if it is larger
 */
export async function readInFolder(folder: string, name: string, limit: number, links?: LinkRule): Promise<Buffer> {
  return readBounded(await openInFolder(folder, name, links), resolve(folder, name), limit);
}

async function readBounded(opened: OpenFile, path: string, limit: number): Promise<Buffer> {
  await using file = opened;
  const { handle, size } = file;
  if (size > limit) {
    throw new LinnetError('FORMAT', `${path} has ${size} bytes; expected at most ${limit}`);
  }
  const bytes = Buffer.alloc(size);
  await readExactly(handle, bytes, 0, path);
  return bytes;
}

/**
 * Reads a whole file of at most `limit` bytes that the user named.
 * @throws LinnetError like `openRegularFile`; `FORMAT` if it is larger
 */
export async function readRegularFile(path: string, limit: number): Promise<Buffer> {
  return readBounded(await openRegularFile(path), resolve(path), limit);
}

/** Reads bytes at a position; returns how many, 0 at the file's end. @throws LinnetError `PATH` naming the file */
export async function readPart(
  handle: FileHandle,
  target: Uint8Array,
  position: number,
  source: string,
): Promise<number> {
  try {
    return (await handle.read(target, 0, Math.min(TRANSFER_BYTES, target.length), position)).bytesRead;
  } catch (error) {
    throw fileError('read', source, error);
  }
}

/** Whether a file that the user named begins with a text in ASCII. @throws LinnetError like `openRegularFile` and `readPart` */
export async function beginsWith(path: string, text: string): Promise<boolean> {
  await using file = await openRegularFile(path);
  const head = Buffer.alloc(text.length);
  return head.toString('latin1', 0, await readPart(file.handle, head, 0, path)) === text;
}

/**
 * Fills `target` from a position in the file.
 * @throws LinnetError `FORMAT` if the file ends early, having shrunk since it was checked; `PATH` if it cannot be read
 */
export async function readExactly(
  handle: FileHandle,
  target: Uint8Array,
  position: number,
  source: string,
): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const bytesRead = await readPart(handle, target.subarray(done), position + done, source);
    if (bytesRead === 0) {
      throw new LinnetError(
        'FORMAT',
        `${source}: the file ended at byte ${position + done}; it was changed while being read`,
      );
    }
    done += bytesRead;
  }
}

/** Writes all of `bytes` at a position; without one, after the last write. */
export async function writeFully(handle: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const length = Math.min(TRANSFER_BYTES, bytes.length - done);
    const { bytesWritten } = await handle.write(bytes, done, length, position === undefined ? null : position + done);
    done += bytesWritten;
  }
}

async function openChecked(
  path: string,
  { resolved, single }: { readonly resolved: boolean; readonly single: boolean },
): Promise<OpenFile> {
  let handle: FileHandle;
  try {
    // O_NONBLOCK: opening a pipe must not wait for a writer. O_NOFOLLOW: the path was already resolved and checked, so a link
    // here means it was swapped. Windows has neither flag.
    const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (resolved ? (constants.O_NOFOLLOW ?? 0) : 0);
    handle = await open(path, flags);
  } catch (error) {
    throw fileError('open', path, error);
  }
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw new LinnetError('PATH', `${path} is not a regular file`);
    if (single && stats.nlink > 1) {
      throw new LinnetError(
        'PATH',
        `${path} has ${stats.nlink} hard links; ${ownRule}; replace it with a copy of the file`,
      );
    }
    const versionOf = ({ dev, ino, size, mtimeMs }: Stats): string => [path, dev, ino, size, mtimeMs].join();
    const version = versionOf(stats);
    const unchanged = async (): Promise<void> => {
      const now = await stat(path).catch(() => undefined);
      if (now !== undefined && versionOf(now) === version) return;
      throw new LinnetError('MISMATCH', `${path} has changed since it was opened; open the model again`);
    };
    return { handle, size: stats.size, path, version, unchanged, [Symbol.asyncDispose]: () => handle.close() };
  } catch (error) {
    await handle.close();
    throw fileError('examine', path, error);
  }
}

function isInside(root: string, target: string): boolean {
  return target.startsWith(root.endsWith(sep) ? root : root + sep);
}

function hubBlobFolder(root: string): string | undefined {
  return basename(dirname(root)) === 'snapshots' ? resolve(root, '../../blobs') : undefined;
}
