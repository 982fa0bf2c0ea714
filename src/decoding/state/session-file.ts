/** Sessions as files in Node and as bytes in memory, in the format of `session-format.ts`. */
import { createHash } from 'node:crypto';
import { encodeSafetensors } from '../../checkpoint/safetensors/encoding.ts';
import { openSafetensors } from '../../checkpoint/safetensors/reader.ts';
import { writeFileAtomic } from '../../files/atomic.ts';
import { LinnetError } from '../../errors.ts';
import { isJsonObject, parseJsonObject } from '../../files/json-object.ts';
import type { StepEngine } from '../step-engine.ts';
import { decodeSessionWith, readSession, sessionFormat, type Snapshot, sessionParts } from './session-format.ts';

/**
 * Writes a session atomically, replacing an existing file.
 *
 * @param session including the fingerprint of the model and its weights: `checkpoint.fingerprint()`
 * @throws LinnetError `INPUT` if the tokens are not the state's text; `PATH` or `NOT_FOUND` from the file system
 * @example
 * ```ts
 * declare const session: Parameters<typeof saveSession>[1];
 * await saveSession('talk.session', session);
 * ```
 */
export async function saveSession(path: string, session: Snapshot & { readonly fingerprint: string }): Promise<void> {
  await writeFileAtomic(path, encodeSession(session));
}

/**
 * Such a file's bytes, a snapshot: the state may change before they are written.
 * @throws LinnetError `INPUT` like `saveSession`
 */
export function encodeSession(session: Snapshot & { readonly fingerprint: string }): Uint8Array {
  const hash = createHash('sha256');
  const { entries, strings } = sessionParts(session, hash);
  // Uncleared memory: clearing takes longer than the copy.
  const allocate = (bytes: number) => Buffer.allocUnsafeSlow(bytes);
  return encodeSafetensors(entries, strings(hash.digest('hex')), 'the session', allocate);
}

/**
 * Reads a session back. Checks types, shapes and sizes before reading any tensor, and the numbers before returning the
 * state.
 *
 * @param fingerprint of the engine's model, as passed to `saveSession`
 * @throws LinnetError `MISMATCH` if the session belongs to another model; `FORMAT` if the file is not a session, has
 *   another version, or is malformed or damaged; `NOT_FOUND` or `PATH` from the file system
 * @example
 * ```ts
 * const { state, tokens } = await restoreSession('talk.session', engine, fingerprint);
 * ```
 */
export async function restoreSession(path: string, engine: StepEngine, fingerprint: string): Promise<Snapshot> {
  const file = await openSafetensors(path);
  try {
    return await readSession(file, engine, fingerprint, createHash('sha256'));
  } finally {
    await file.close();
  }
}

/** Longest session header that is judged while its bytes arrive. */
const longestHeader = 1 << 20;

/**
 * Judges whether the first bytes begin a session of this model.
 * @returns false if more bytes are needed
 * @throws LinnetError `FORMAT` for anything but a session, `MISMATCH` for another model's
 */
export function checkSessionHeader(bytes: Buffer, fingerprint: string): boolean {
  if (bytes.length < 8) return false;
  const length = bytes.readBigUInt64LE(0);
  if (length > BigInt(longestHeader)) throw new LinnetError('FORMAT', 'this is not a session file');
  if (bytes.length < 8 + Number(length)) return false;
  const { __metadata__: strings } = parseJsonObject(bytes.subarray(8, 8 + Number(length)), 'the session');
  if (!isJsonObject(strings) || strings.format !== sessionFormat) {
    throw new LinnetError('FORMAT', 'this is not a session file');
  }
  if (strings.fingerprint === fingerprint) return true;
  throw new LinnetError('MISMATCH', 'the session belongs to another model');
}

/**
 * Reads a session from bytes, with the checks of a file.
 * @param source names them in errors
 * @throws LinnetError `MISMATCH` or `FORMAT` like `restoreSession`
 */
export function decodeSession(
  bytes: Uint8Array,
  engine: Pick<StepEngine, 'model' | 'layout'>,
  fingerprint: string,
  source?: string,
): Promise<Snapshot> {
  return decodeSessionWith(createHash('sha256'), bytes, engine, fingerprint, source);
}
