/**
 * The header of a safetensors file, checked completely before anything is allocated for its tensors.
 *
 * Layout: 8 bytes of little-endian header length, that many bytes of JSON, then the data. The JSON maps a tensor name to {
 * dtype, shape, data_offsets: [begin, end) } with offsets counted from the start of the data, and may hold a string map under
 * `__metadata__`. The tensors must cover the data exactly, without overlaps or gaps.
 */
import { LinnetError } from '../../errors.ts';
import { isJsonObject, type JsonObject, parseJsonObject } from '../../files/json-object.ts';
import { quoteName } from '../../files/name-list.ts';
import { type StoredDType, bitsOf, isStoredDType, storedDTypeNames } from './stored-dtypes.ts';

/** Bytes of the length field before the header. */
export const LENGTH_FIELD_BYTES = 8;
/** Largest header the format allows. */
export const MAX_HEADER_BYTES = 100_000_000;
/** The key that holds strings instead of a tensor. */
export const METADATA_KEY = '__metadata__';
/** The largest published models have some 100,000 tensors in all files; each takes three objects and lists. */
const headerLimits = { depth: 8, containers: 750_000, values: 6_000_000 };
const MAX_RANK = 64;
const OPENING_BRACE = 0x7b;
/** Names that would change meaning as a plain object's key. */
const UNSAFE_NAMES: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/** The header's entry for one tensor. `begin` counts bytes from the start of the data. */
export interface StoredTensor {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly byteLength: number;
}

/** A checked header. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Reads the length field.
 * @param prefix the file's first bytes, up to eight
 * @throws LinnetError `FORMAT` if the file is too short for the header it announces, or the header is over 100 MB
 */
export function headerLength(prefix: Uint8Array, fileBytes: number, source: string): number {
  if (prefix.length < LENGTH_FIELD_BYTES || fileBytes < LENGTH_FIELD_BYTES) {
    throw malformed(
      source,
      `${fileBytes} bytes are too few for a safetensors file, which starts with an 8-byte length`,
    );
  }
  const view = new DataView(prefix.buffer, prefix.byteOffset, LENGTH_FIELD_BYTES);
  const length = view.getBigUint64(0, true);
  const claim = `the header claims ${length} bytes`;
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw malformed(source, `${claim}, at most ${MAX_HEADER_BYTES} are allowed; is this a safetensors file?`);
  }
  const available = fileBytes - LENGTH_FIELD_BYTES;
  if (length > BigInt(available)) {
    throw malformed(source, `${claim}, the file has ${available} after the length field; it is truncated`);
  }
  return Number(length);
}

/**
 * Checks a header and returns its content.
 * @throws LinnetError `FORMAT` on the first violation, naming the file, the tensor and the numbers
 */
export function parseHeader(bytes: Uint8Array, dataBytes: number, source: string): SafetensorsHeader {
  // JSON white space may follow the object as padding, but the format fixes the first byte.
  if (bytes[0] !== OPENING_BRACE) throw malformed(source, 'the header does not start with "{"');
  const header = parseJsonObject(bytes, `${source}: the header`, { uniqueKeys: true, limits: headerLimits });

  const tensors = new Map<string, StoredTensor>();
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, entry] of Object.entries(header)) {
    if (name === METADATA_KEY) metadata = parseMetadata(entry, source);
    else tensors.set(checkTensorName(name, source), parseTensor(name, entry, dataBytes, source));
  }
  checkCoverage(tensors, dataBytes, source);
  return { tensors, metadata };
}

/**
 * Refuses names no reader can handle safely: keys of every JavaScript object, the metadata key, unpaired surrogates.
 * @throws LinnetError `FORMAT`
 */
export function checkTensorName(name: string, source: string): string {
  if (UNSAFE_NAMES.has(name) || name === METADATA_KEY)
    throw malformed(source, `${quoteName(name)} is not allowed as a tensor name`);
  if (/\p{Surrogate}/u.test(name)) throw malformed(source, `the tensor name ${quoteName(name)} is not valid Unicode`);
  return name;
}

/**
 * A tensor's bytes, with every intermediate product checked.
 * @throws LinnetError `FORMAT` if the shape is not a list of sizes, the product exceeds the exact integers, or the elements
 *   do not fill whole bytes
 */
export function storedBytes(name: string, dtype: StoredDType, shape: readonly number[], source: string): number {
  const refuse = (what: string): LinnetError => malformed(source, `tensor ${quoteName(name)}${what}`);
  if (shape.length > MAX_RANK) throw refuse(` has ${shape.length} dimensions, at most ${MAX_RANK} are supported`);
  const label = `shape [${shape.join(',')}] of ${dtype}`;
  let bits = bitsOf(dtype);
  for (const dim of shape) {
    if (!Number.isSafeInteger(dim) || dim < 0) throw refuse(`: ${dim} in ${label} is not a size`);
    bits *= dim;
    if (!Number.isSafeInteger(bits)) throw refuse(`: ${label} overflows`);
  }
  if (bits % 8 !== 0) throw refuse(`: ${label} is ${bits} bits, not whole bytes`);
  return bits / 8;
}

function parseMetadata(entry: unknown, source: string): ReadonlyMap<string, string> {
  if (!isJsonObject(entry)) throw malformed(source, `${METADATA_KEY} must be an object of strings`);
  const metadata = new Map<string, string>();
  for (const [key, value] of Object.entries(entry)) {
    if (typeof value !== 'string') throw malformed(source, `${METADATA_KEY} entry ${quoteName(key)} must be a string`);
    metadata.set(key, value);
  }
  return metadata;
}

function parseTensor(name: string, entry: unknown, dataBytes: number, source: string): StoredTensor {
  const refuse = (what: string): LinnetError => malformed(source, `tensor ${quoteName(name)}${what}`);
  const { dtype, shape, data_offsets: offsets }: JsonObject = isJsonObject(entry) ? entry : {};
  if (typeof dtype !== 'string' || !isNumberArray(shape) || !isNumberArray(offsets)) {
    throw refuse(' must be { "dtype": string, "shape": sizes, "data_offsets": [begin, end] }');
  }
  if (!isStoredDType(dtype)) {
    throw refuse(` has the unknown dtype ${quoteName(dtype)}; known are ${storedDTypeNames().join(', ')}`);
  }
  const expected = storedBytes(name, dtype, shape, source);
  const [begin, end] = offsets;
  const places = `data_offsets [${offsets.slice(0, 4).join(',')}]`;
  if (offsets.length !== 2 || !offsets.every(Number.isSafeInteger) || begin < 0 || end < begin) {
    throw refuse(`: ${places} must be [begin, end] with 0 ≤ begin ≤ end`);
  }
  if (end > dataBytes) {
    throw refuse(` ends at byte ${end} of the data, which has ${dataBytes} bytes; the file is truncated or damaged`);
  }
  if (end - begin !== expected) {
    throw refuse(`: ${dtype} [${shape.join(',')}] takes ${expected} bytes, ${places} hold ${end - begin}`);
  }
  return { dtype, shape, begin, byteLength: expected };
}

/** In offset order, every tensor must start where the one before ends, and the last must end with the file. */
function checkCoverage(tensors: ReadonlyMap<string, StoredTensor>, dataBytes: number, source: string): void {
  const ordered = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.byteLength - b.byteLength);
  let covered = 0;
  let previous = 'the header';
  for (const [name, { begin, byteLength }] of ordered) {
    const label = `tensor ${quoteName(name)}`;
    if (begin < covered) {
      throw malformed(source, `${label} begins at byte ${begin}, inside ${previous}, which ends at ${covered}`);
    }
    if (begin > covered) {
      throw malformed(source, `bytes ${covered} to ${begin} between ${previous} and ${label} belong to no tensor`);
    }
    covered = begin + byteLength;
    previous = label;
  }
  if (covered === dataBytes) return;
  const rest = `${dataBytes - covered} bytes follow the last`;
  throw malformed(source, `the data has ${dataBytes} bytes, the tensors cover ${covered}; ${rest}`);
}

function isNumberArray(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'number');
}

function malformed(source: string, what: string): LinnetError {
  return new LinnetError('FORMAT', `${source}: ${what}`);
}
