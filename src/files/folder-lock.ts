/**
 * One writer per folder: a file names the process that holds it. A lock whose process is gone (killed, or lost with its
 * machine) is taken over if that can be known, which it can on the same host.
 */
import { randomBytes } from 'node:crypto';
import { link, readFile, rename, rm, rmdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { createFileAtomic, makeFolder } from './atomic.ts';
import { beginningOf, isProcessAlive, temporarySibling } from './temporary-files.ts';
import { fileError, readInFolder, systemErrorCode } from './regular-file.ts';

const LOCK_FILE = 'lock.json';
const mostLockBytes = 4096;

const holderSchema = z.object({
  pid: z.int().min(1),
  host: z.string().max(255),
  /** When the process began, by the system's own count, to tell a reused process id apart. */
  begun: z.string().max(64).nullable(),
  /** Tells two locks of one process apart. */
  nonce: z.string().max(64),
});
type Holder = z.infer<typeof holderSchema>;

/** A folder this process holds until it disposes of the lock. */
export interface FolderLock extends AsyncDisposable {
  readonly folder: string;
}

/**
 * Locks a folder for this process, creating it if need be. Disposing of the lock releases it, and removes the folder if it
 * was created here and is still empty.
 * @throws LinnetError `PATH` if another process holds it, naming its process id and host
 */
export async function lockFolder(dir: string): Promise<FolderLock> {
  const folder = resolve(dir);
  const path = join(folder, LOCK_FILE);
  const own: Holder = {
    pid: process.pid,
    host: hostname(),
    begun: beginningOf(process.pid),
    nonce: randomBytes(8).toString('hex'),
  };
  let created = false;
  try {
    created = await makeFolder(folder);
    const text = `${JSON.stringify(own)}\n`;
    while (!(await createFileAtomic(path, text, { durable: false }))) await removeStale(path);
  } catch (error) {
    throw fileError('lock', folder, error);
  }
  return {
    folder,
    async [Symbol.asyncDispose]() {
      if ((await readHolder(path))?.nonce === own.nonce) await rm(path, { force: true });
      if (created) await rmdir(folder).catch(() => undefined); // usually not empty
    },
  };
}

/** Whether a process holds a folder; a holder on another host counts as alive. An unreadable lock counts as none. */
export async function isFolderHeld(dir: string): Promise<boolean> {
  try {
    const bytes = await readInFolder(resolve(dir), LOCK_FILE, mostLockBytes);
    return isAlive(holderSchema.parse(JSON.parse(bytes.toString('utf8'))));
  } catch {
    return false;
  }
}

/** @throws LinnetError `PATH` if the holder is, or may be, alive */
async function removeStale(path: string): Promise<void> {
  const holder = await readHolder(path);
  if (holder === undefined) return; // released meanwhile
  if (isAlive(holder)) {
    throw new LinnetError(
      'PATH',
      `${resolve(path, '..')} is in use by process ${holder.pid} on ${holder.host}; wait for it, or name another folder ` +
        `(if that process is gone, delete ${path})`,
    );
  }
  // Moved aside first: if another process has taken the lock since it was read, it gets it back.
  const aside = temporarySibling(path);
  try {
    await rename(path, aside);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return;
    throw error;
  }
  const moved = await readHolder(aside);
  if (moved !== undefined && moved.nonce !== holder.nonce) await link(aside, path).catch(() => undefined);
  await rm(aside, { force: true });
}

/** Undefined if there is no lock. @throws LinnetError `PATH` for a file that is not one of our locks */
async function readHolder(path: string): Promise<Holder | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw fileError('read', path, error);
  }
  try {
    return holderSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new LinnetError('PATH', `${path} is not a lock that can be read; delete it if nothing writes that folder`, {
      cause,
    });
  }
}

function isAlive({ pid, host, begun }: Holder): boolean {
  return host !== hostname() || isProcessAlive(pid, begun); // a process on another host cannot be checked from here
}
