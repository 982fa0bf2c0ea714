/** Reading a JSON object from a file that may be hostile: bounded size, regular files only, typed errors. */
import { open } from 'node:fs/promises';
import { LinnetError } from '../errors.ts';

/** Whether a parsed value is a JSON object, as opposed to an array, null or a scalar. */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The JSON object in the file at `path`.
 * @param maximumBytes files larger than this are refused unread.
 * @throws LinnetError `NOT_FOUND`, `PATH` if it is not a regular file, `FORMAT` if it is too large, not UTF-8, not
 * JSON, or JSON but not an object.
 */
export async function readJsonObject(path: string, maximumBytes: number): Promise<Record<string, unknown>> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new LinnetError('NOT_FOUND', `${path} cannot be opened`, { cause });
  });
  let bytes: Buffer;
  try {
    const status = await file.stat();
    if (!status.isFile()) throw new LinnetError('PATH', `${path} is not a regular file`);
    if (status.size > maximumBytes) {
      throw new LinnetError('FORMAT', `${path} has ${status.size} bytes; at most ${maximumBytes} are accepted`);
    }
    bytes = await file.readFile();
  } finally {
    await file.close();
  }
  const value = parse(path, bytes);
  if (!isJsonObject(value)) throw new LinnetError('FORMAT', `${path} holds JSON, but not an object`);
  return value;
}

function parse(path: string, bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LinnetError('FORMAT', `${path} is not valid JSON: ${reason}`, { cause });
  }
}
