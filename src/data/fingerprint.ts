/** Recognising a data set: a resumed run must continue on the rows it began with. */
import { createHash } from 'node:crypto';
import { endianness } from 'node:os';
import type { PackedDataset } from './packing.ts';

/** Changes whenever what is hashed changes. */
const version = 1;

/**
 * SHA-256, in hexadecimal, of everything that training reads of a data set: row length, padding id, tokens and rows.
 * Equal on all platforms.
 */
export function fingerprint(dataset: PackedDataset): string {
  const { length, padId, tokens, starts, counts } = dataset;
  const hash = createHash('sha256');
  hash.update(JSON.stringify({ version, length, padId, tokens: tokens.length, rows: starts.length }));
  for (const array of [tokens, starts, counts]) hash.update(littleEndian(array));
  return hash.digest('hex');
}

function littleEndian(array: Int32Array): Uint8Array {
  const bytes = Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  return endianness() === 'LE' ? bytes : Buffer.from(bytes).swap32();
}
