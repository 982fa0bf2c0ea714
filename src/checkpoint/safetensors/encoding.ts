/**
 * Encodes safetensors files: header and data of tensors whose names, types and shapes are known first. Also runs in browsers;
 * `writer.ts` writes the same to files.
 */
import { LinnetError } from '../../errors.ts';
import { quoteName } from '../../files/name-list.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { checkTensorName, LENGTH_FIELD_BYTES, MAX_HEADER_BYTES, METADATA_KEY, storedBytes } from './header.ts';
import { type StoredDType, type TensorData, bitsOf, storedDType } from './stored-dtypes.ts';

/**
 * A tensor's data, or a function that produces it when its turn comes: whole, or in pieces, each written before the next is
 * made.
 */
export type TensorSource = TensorData | (() => TensorData | Promise<TensorData> | AsyncIterable<TensorData>);

/** A tensor to write. float32 data may be stored as F32, F16 or BF16; other data only as its own type. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** Product-of-`shape` elements. F16 and BF16 take rounded Float32Array values or Uint16Array bit patterns. */
  readonly data: TensorSource;
}

/** Entries for tensors in memory. */
export function float32Entries(tensors: Iterable<readonly [string, Tensor<'float32'>]>) {
  return Array.from(tensors, ([name, { shape, data }]) => ({ name, dtype: 'F32' as const, shape, data }));
}

/** An entry with its size in bytes. */
export interface PlacedEntry extends TensorEntry {
  readonly byteLength: number;
}

/** The header is padded to this, so that data starts aligned for every element type. */
const ALIGNMENT = 8;
const SPACE = 0x20;
/** Elements converted at a time: bounds a narrowing conversion's memory. */
const CONVERSION_ELEMENTS = 1 << 21;

/**
 * A safetensors file's bytes, in memory, made at once: the data may change afterwards.
 * @param allocate makes the memory; all of it is then written
 * @throws LinnetError `FORMAT` and `SHAPE` for unusable entries, or data that does not fit them
 */
export function encodeSafetensors(
  entries: readonly (TensorEntry & { readonly data: TensorData })[],
  metadata: Readonly<Record<string, string>>,
  source: string,
  allocate = (length: number): Uint8Array<ArrayBuffer> => new Uint8Array(length),
): Uint8Array<ArrayBuffer> {
  const { placed, header } = laidOut(entries.map(placing(source)), metadata, source);
  const file = allocate(placed.reduce((sum, { byteLength }) => sum + byteLength, header.length));
  file.set(header);
  let end = header.length;
  for (const entry of placed) {
    const { pieces, finish } = encoding(entry, source);
    for (const bytes of pieces(entry.data)) {
      file.set(bytes, end);
      end += bytes.length;
    }
    finish();
  }
  return file;
}

/** Checks entries and lays them out. @throws LinnetError `FORMAT` for unusable names, shapes or types */
export async function placeEntries(
  entries: Iterable<TensorEntry> | AsyncIterable<TensorEntry>,
  metadata: Readonly<Record<string, string>>,
  path: string,
): Promise<{ readonly placed: readonly PlacedEntry[]; readonly header: Uint8Array }> {
  const place = placing(path);
  const placed: PlacedEntry[] = [];
  for await (const entry of entries) placed.push(place(entry));
  return laidOut(placed, metadata, path);
}

/** Checks entries in order. */
export function placing(path: string): <E extends TensorEntry>(entry: E) => E & PlacedEntry {
  const names = new Set<string>();
  return (entry) => {
    const { name, dtype, shape } = entry;
    checkTensorName(name, path);
    if (names.has(name)) throw new LinnetError('FORMAT', `${path}: two tensors are named ${quoteName(name)}`);
    names.add(name);
    return { ...entry, byteLength: storedBytes(name, dtype, shape, path) };
  };
}

function laidOut<E extends PlacedEntry>(
  entries: readonly E[],
  metadata: Readonly<Record<string, string>>,
  path: string,
): { readonly placed: readonly E[]; readonly header: Uint8Array } {
  const placed = entries.toSorted((a, b) => bitsOf(b.dtype) - bitsOf(a.dtype));
  return { placed, header: encodeHeader(placed, metadata, path) };
}

/** Length field and JSON, padded with spaces as the format allows. */
function encodeHeader(
  placed: readonly PlacedEntry[],
  metadata: Readonly<Record<string, string>>,
  path: string,
): Uint8Array {
  const members: string[] = [];
  if (Object.keys(metadata).length > 0) members.push(`"${METADATA_KEY}":${JSON.stringify(metadata)}`);
  let begin = 0;
  for (const { name, dtype, shape, byteLength } of placed) {
    const end = begin + byteLength;
    members.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`);
    begin = end;
  }
  const json = new TextEncoder().encode(`{${members.join(',')}}`);
  const length = Math.ceil(json.length / ALIGNMENT) * ALIGNMENT;
  if (length > MAX_HEADER_BYTES) {
    throw new LinnetError(
      'FORMAT',
      `${path}: the header would take ${length} bytes, at most ${MAX_HEADER_BYTES} are allowed`,
    );
  }
  const header = new Uint8Array(LENGTH_FIELD_BYTES + length).fill(SPACE);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, LENGTH_FIELD_BYTES);
  return header;
}

/**
 * Passes a tensor's bytes to `write`, piece by piece.
 * @throws LinnetError `SHAPE` if the data does not fit the entry, `FORMAT` for a type that cannot be written
 */
export async function writeTensor(
  entry: PlacedEntry,
  path: string,
  write: (bytes: Uint8Array) => void | Promise<void>,
): Promise<void> {
  const data = typeof entry.data === 'function' ? await entry.data() : entry.data;
  const { pieces, finish } = encoding(entry, path);
  for await (const part of ArrayBuffer.isView(data) ? [data] : data) {
    for (const bytes of pieces(part)) await write(bytes);
  }
  finish();
}

/** An entry's elements as bytes in its type, piece by piece, and a check that they were complete. */
function encoding({ name, dtype, shape, byteLength }: PlacedEntry, path: string) {
  const label = `${path}: tensor ${quoteName(name)} (${dtype} [${shape.join(',')}])`;
  const { bits, encode } = storedDType(dtype);
  if (encode === undefined) throw new LinnetError('FORMAT', `${label}: writing this type is not supported`);
  const count = (byteLength * 8) / bits;
  let given = 0;
  const misfit = (): LinnetError => new LinnetError('SHAPE', `${label} takes ${count} elements, ${given} were given`);
  function* pieces(data: TensorData): Generator<Uint8Array> {
    given += data.length;
    if (given > count) throw misfit();
    for (let start = 0; start < data.length; start += CONVERSION_ELEMENTS) {
      const bytes = encode?.(data.subarray(start, start + CONVERSION_ELEMENTS));
      if (bytes !== undefined) yield bytes;
      else throw new LinnetError('SHAPE', `${label} cannot be stored from a ${data.constructor.name}`);
    }
  }
  function finish(): void {
    if (given !== count) throw misfit();
  }
  return { pieces, finish };
}
