/** Identifies a data set: a resumed run must continue on the rows it began with. */
import { createHash } from 'node:crypto';
import { endianness } from 'node:os';

/**
 * SHA-256 in hex of everything training reads from a data set. Equal on all platforms.
 *
 * @param described the arrays' description, as plain JSON; its version changes with the format of the hashed data
 */
export function fingerprint(described: object, arrays: readonly Int32Array[]): string {
  const hash = createHash('sha256');
  hash.update(JSON.stringify(described));
  for (const array of arrays) hash.update(littleEndian(array));
  return hash.digest('hex');
}

function littleEndian(array: Int32Array): Uint8Array {
  const bytes = Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  return endianness() === 'LE' ? bytes : Buffer.from(bytes).swap32();
}
