/** Receives one file over an unreliable connection: resumes a partial file, verifies size and digest, retries. */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { HubApiError } from '@huggingface/hub';
import { LinnetError, type Stoppable } from '../../errors.ts';
import { quoteName } from '../../files/name-list.ts';
import { fileError, readExactly, systemErrorCode, TRANSFER_BYTES, writeFully } from '../../files/regular-file.ts';

/** A checksum known before the download. Git's covers a small header and the content. */
export interface ExpectedDigest {
  readonly algorithm: 'sha256' | 'git-sha1';
  readonly hex: string;
}

/** A file to receive. */
export interface RemoteFile {
  readonly name: string;
  readonly size: number;
  /** Without it only the size is checked. */
  readonly digest?: ExpectedDigest;
}

/** How to receive a file. */
export interface ReceiveOptions extends Stoppable {
  /** Opens a connection that delivers the file from byte `start` on. */
  readonly connect: (start: number) => Promise<AsyncIterable<Uint8Array>>;
  /** Consecutive failures, without a byte received, that end the attempt. */
  readonly retries: number;
  /** Pause before the first retry in milliseconds; doubles with each further one. */
  readonly retryDelay: number;
  readonly onBytes?: (received: number) => void;
}

/**
 * Completes `folder/file.name`, keeping bytes that an earlier run left there.
 * @returns the content's SHA-256, in hex
 * @throws LinnetError `FORMAT` if two complete downloads in a row have the wrong digest, `PATH` if something other than a
 *   plain file is in the way, or the connection's last failure
 */
export async function receiveFile(folder: string, file: RemoteFile, options: ReceiveOptions): Promise<string> {
  const path = resolve(folder, file.name);
  const { digest } = file;
  await using handle = await openOwn(path);
  for (let isRepeated = false; ; isRepeated = true) {
    await complete(handle, file, options);
    options.signal?.throwIfAborted();
    const digests = await digestsOf(handle, file, path);
    if (digest === undefined || digests[digest.algorithm] === digest.hex) return digests.sha256;
    if (isRepeated) {
      throw new LinnetError('FORMAT', `${quoteName(file.name)} arrived twice with a digest other than ${digest.hex}`);
    }
    await handle.truncate(0); // most likely the part kept from an earlier run; retry from the start
  }
}

/** Connects until every byte has arrived. Discards a file larger than expected. */
async function complete(handle: FileHandle, { name, size }: RemoteFile, options: ReceiveOptions): Promise<void> {
  const { connect, retries, retryDelay, onBytes, signal } = options;
  let { size: received } = await handle.stat();
  if (received > size) {
    await handle.truncate(0);
    received = 0;
  }
  let failures = 0;
  onBytes?.(received);
  while (received < size) {
    const before = received;
    try {
      for await (const chunk of await connect(before)) {
        signal?.throwIfAborted();
        if (chunk.length > size - received) {
          throw new LinnetError('FORMAT', `the server sent more than the ${size} bytes of ${quoteName(name)}`);
        }
        await writeFully(handle, chunk, received);
        received += chunk.length;
        onBytes?.(received);
      }
      if (received < size) throw new Error(`the connection ended ${size - received} bytes early`);
    } catch (error) {
      signal?.throwIfAborted();
      failures = received > before ? 1 : failures + 1;
      if (failures > retries || !isTransient(error)) throw error;
      await delay(retryDelay * 2 ** (failures - 1), undefined, { signal });
    }
  }
}

/** Refusals are final; broken connections and overloaded servers may recover. */
function isTransient(error: unknown): boolean {
  if (error instanceof LinnetError || systemErrorCode(error) !== undefined) return false;
  return !(error instanceof HubApiError) || isBusy(error.statusCode);
}

/** Whether a status says that the same request may succeed later. */
export function isBusy(status: number): boolean {
  return status >= 500 || [408, 429].includes(status);
}

async function digestsOf(
  handle: FileHandle,
  { size, digest }: RemoteFile,
  path: string,
): Promise<Readonly<Record<ExpectedDigest['algorithm'], string>>> {
  const sha256 = createHash('sha256');
  const gitSha1 = createHash('sha1').update(`blob ${size}\0`);
  const buffer = new Uint8Array(Math.min(TRANSFER_BYTES, size));
  for (let done = 0; done < size; done += buffer.length) {
    const chunk = buffer.subarray(0, Math.min(buffer.length, size - done));
    await readExactly(handle, chunk, done, path);
    sha256.update(chunk);
    // Git's hash matters only for small files stored in git itself.
    if (digest?.algorithm === 'git-sha1') gitSha1.update(chunk);
  }
  return { sha256: sha256.digest('hex'), 'git-sha1': gitSha1.digest('hex') };
}

/** Opens or creates our own file, never through a link that someone else put there. */
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
