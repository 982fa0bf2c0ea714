/** Receiving one file over an unreliable connection: resumes a partial file, verifies size and digest, retries. */
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LinnetError } from '../../errors.ts';
import { quoteName } from '../../files/name-list.ts';
import { fileError, readExactly, TRANSFER_BYTES, writeFully } from '../../files/regular-file.ts';

/** A checksum known before the download. Git's covers a small header as well as the content. */
export interface ExpectedDigest {
  readonly algorithm: 'sha256' | 'git-sha1';
  readonly hex: string;
}

/** A file to be received. */
export interface RemoteFile {
  readonly name: string;
  readonly size: number;
  /** Without it only the size is checked. */
  readonly digest?: ExpectedDigest;
}

/** How a file is received. */
export interface ReceiveOptions {
  /** Opens a connection that delivers the file from byte `start` to its end. */
  readonly connect: (start: number) => Promise<AsyncIterable<Uint8Array>>;
  /** Failures in a row, without a byte received, that end the attempt. */
  readonly retries: number;
  /** Pause before the first new try in milliseconds; doubles with each further one. */
  readonly retryDelay: number;
  /** Whether a failure is worth a new try. */
  readonly isTransient: (error: unknown) => boolean;
  readonly onBytes?: (received: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Completes `folder/file.name`, keeping bytes that an earlier run left there.
 * @returns the SHA-256 of the content, in hex
 * @throws LinnetError `FORMAT` if two complete downloads in a row have the wrong digest, `PATH` if something that is not a plain file
 *   is in the way, or the last failure of the connection
 */
export async function receiveFile(folder: string, file: RemoteFile, options: ReceiveOptions): Promise<string> {
  const path = resolve(folder, file.name);
  const handle = await openOwn(path);
  try {
    const reception = new Reception(handle, file, path);
    await reception.takeExisting();
    let corrupted = false;
    for (;;) {
      await complete(reception, options);
      options.signal?.throwIfAborted();
      const sha256 = reception.verified();
      if (sha256 !== undefined) return sha256;
      if (corrupted) {
        throw new LinnetError(
          'FORMAT',
          `${quoteName(file.name)} arrived twice with a digest other than ${file.digest?.hex}`,
        );
      }
      corrupted = true; // most likely the part kept from an earlier run; once more from the start
      await reception.restart();
    }
  } finally {
    await handle.close();
  }
}

/** Connects until every byte is there. */
async function complete(reception: Reception, options: ReceiveOptions): Promise<void> {
  const { connect, retries, retryDelay, isTransient, onBytes, signal } = options;
  let failures = 0;
  onBytes?.(reception.received);
  while (reception.missing > 0) {
    const before = reception.received;
    try {
      for await (const chunk of await connect(before)) {
        signal?.throwIfAborted();
        await reception.append(chunk);
        onBytes?.(reception.received);
      }
      if (reception.missing > 0) throw new Error(`the connection ended ${reception.missing} bytes early`);
    } catch (error) {
      signal?.throwIfAborted();
      failures = reception.received > before ? 1 : failures + 1;
      if (failures > retries || !isTransient(error)) throw error;
      await delay(retryDelay * 2 ** (failures - 1), undefined, { signal });
    }
  }
}

/** The bytes of one file so far, and their digests. */
class Reception {
  readonly #handle: FileHandle;
  readonly #file: RemoteFile;
  readonly #path: string;
  #received = 0;
  #sha256 = createHash('sha256');
  #gitSha1: Hash;

  constructor(handle: FileHandle, file: RemoteFile, path: string) {
    this.#handle = handle;
    this.#file = file;
    this.#path = path;
    this.#gitSha1 = gitBlobHash(file.size);
  }

  get received(): number {
    return this.#received;
  }

  get missing(): number {
    return this.#file.size - this.#received;
  }

  /** Counts and digests the bytes already in the file; a file larger than expected is dropped. */
  async takeExisting(): Promise<void> {
    const { size } = await this.#handle.stat();
    if (size > this.#file.size) return this.restart();
    const buffer = new Uint8Array(Math.min(TRANSFER_BYTES, size));
    while (this.#received < size) {
      const chunk = buffer.subarray(0, Math.min(buffer.length, size - this.#received));
      await readExactly(this.#handle, chunk, this.#received, this.#path);
      this.#digest(chunk);
    }
  }

  async append(chunk: Uint8Array): Promise<void> {
    if (chunk.length > this.missing) {
      throw new LinnetError(
        'FORMAT',
        `the server sent more than the ${this.#file.size} bytes of ${quoteName(this.#file.name)}`,
      );
    }
    await writeFully(this.#handle, chunk, this.#received);
    this.#digest(chunk);
  }

  async restart(): Promise<void> {
    await this.#handle.truncate(0);
    this.#received = 0;
    this.#sha256 = createHash('sha256');
    this.#gitSha1 = gitBlobHash(this.#file.size);
  }

  /** The SHA-256 of a complete file, or undefined if its digest is not the expected one. */
  verified(): string | undefined {
    const sha256 = this.#sha256.digest('hex');
    const actual = { sha256, 'git-sha1': this.#gitSha1.digest('hex') };
    const { digest } = this.#file;
    return digest === undefined || actual[digest.algorithm] === digest.hex ? sha256 : undefined;
  }

  #digest(chunk: Uint8Array): void {
    this.#sha256.update(chunk);
    // Git's hash matters only for the small files that are stored in git itself.
    if (this.#file.digest?.algorithm === 'git-sha1') this.#gitSha1.update(chunk);
    this.#received += chunk.length;
  }
}

function gitBlobHash(size: number): Hash {
  return createHash('sha1').update(`blob ${size}\0`);
}

/** Opens or creates a file of ours, never through a link that someone else put there. */
async function openOwn(path: string): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0), 0o666);
  } catch (error) {
    throw fileError('write', path, error);
  }
  const stats = await handle.stat();
  if (stats.isFile() && stats.nlink === 1) return handle;
  await handle.close();
  throw new LinnetError('PATH', `${path} is not a plain file with a single name; remove it`);
}
