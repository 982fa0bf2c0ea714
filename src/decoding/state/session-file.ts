/** Sessions as files of Node, and as bytes in memory, in the format of `session-format.ts`. */
import { createHash } from 'node:crypto';
import { encodeSafetensors } from '../../checkpoint/safetensors/encoding.ts';
import { openSafetensors } from '../../checkpoint/safetensors/reader.ts';
import { writeFileAtomic } from '../../files/atomic.ts';
import { LinnetError } from '../../errors.ts';
import { isJsonObject, parseJsonObject } from '../../files/json-object.ts';
import type { StepEngine } from '../step-engine.ts';
import { decodeSessionWith, readSession, sessionFormat, type Snapshot, sessionParts } from './session-format.ts';

/**
 * Writes a session, in place of the file if it exists, all at once.
 *
 * @param session with the fingerprint of the model and its weights: `checkpoint.fingerprint()`
 * @throws LinnetError `INPUT` if the tokens are not the text of the state; `PATH` or `NOT_FOUND` from the file system
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
 * The bytes of such a file. They are of now: the state may go on before they are written.
 * @throws LinnetError `INPUT` as `saveSession`
 */
export function encodeSession(session: Snapshot & { readonly fingerprint: string }): Uint8Array {
  const hash = createHash('sha256');
  const { entries, strings } = sessionParts(session, hash);
  // Memory that is not cleared first: clearing it takes longer than the copy.
  const allocate = (bytes: number) => Buffer.allocUnsafeSlow(bytes);
  return encodeSafetensors(entries, strings(hash.digest('hex')), 'the session', allocate);
}

/**
 * Reads a session back. Types, shapes and sizes are checked before any tensor is read, the numbers before the state is
 * returned.
 *
 * @param fingerprint of the engine's model, as given to `saveSession`
 * @throws LinnetError `MISMATCH` if the session is of another model; `FORMAT` if the file is not a session, of another
 *   version, malformed or damaged; `NOT_FOUND` or `PATH` from the file system
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

/** Longest header of a session that is judged while its bytes come. */
const longestHeader = 1 << 20;

/**
 * Judges the first bytes of a session: whether they begin a session of a model.
 * @returns false where more bytes are needed
 * @throws LinnetError `FORMAT` for anything but a session, `MISMATCH` for one of another model
 */
export function checkSessionHeader(bytes: Buffer, fingerprint: string): boolean {
  if (bytes.length < 8) return false;
  const length = bytes.readBigUInt64LE(0);
  if (length > BigInt(longestHeader)) throw new LinnetError('FORMAT', 'this is not a file of a session');
  if (bytes.length < 8 + Number(length)) return false;
  const { __metadata__: strings } = parseJsonObject(bytes.subarray(8, 8 + Number(length)), 'the session');
  if (!isJsonObject(strings) || strings.format !== sessionFormat) {
    throw new LinnetError('FORMAT', 'this is not a file of a session');
  }
  if (strings.fingerprint === fingerprint) return true;
  throw new LinnetError('MISMATCH', 'the session is of another model');
}

/**
 * Reads a session from bytes, which are checked as a file is.
 * @param source how errors name them
 * @throws LinnetError `MISMATCH` or `FORMAT` as `restoreSession`
 */
export function decodeSession(
  bytes: Uint8Array,
  engine: Pick<StepEngine, 'model' | 'layout'>,
  fingerprint: string,
  source?: string,
): Promise<Snapshot> {
  return decodeSessionWith(createHash('sha256'), bytes, engine, fingerprint, source);
}
