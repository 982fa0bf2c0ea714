/**
 * The bytes of safetensors files: header and data of tensors whose names, types and shapes are known first. Runs in
 * browsers too; `writer.ts` puts the same into files.
 */
import { LinnetError } from '../../errors.ts';
import { quoteName } from '../../files/name-list.ts';
import { checkTensorName, LENGTH_FIELD_BYTES, MAX_HEADER_BYTES, METADATA_KEY, storedBytes } from './header.ts';
import { type StoredDType, type TensorData, bitsOf, storedDType } from './stored-dtypes.ts';

/** The data of a tensor, or a function that produces it when its turn comes: whole, or in pieces, each of which is written before the next is made. */
export type TensorSource = TensorData | (() => TensorData | Promise<TensorData> | AsyncIterable<TensorData>);

/** A tensor to be written. float32 data may be stored as F32, F16 or BF16; other data only as its own type. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** Product-of-`shape` elements. F16 and BF16 take rounded Float32Array values or Uint16Array bit patterns. */
  readonly data: TensorSource;
}

/** An entry with the bytes that it takes. */
export interface PlacedEntry extends TensorEntry {
  readonly byteLength: number;
}

/** The header is padded to this, so that data starts aligned for every element type. */
const ALIGNMENT = 8;
const SPACE = 0x20;
/** Elements converted at a time: bounds the memory of a narrowing conversion. */
const CONVERSION_ELEMENTS = 1 << 21;

/**
 * The bytes of a safetensors file, in memory, at once: the data may change afterwards.
 * @param allocate makes the memory, all of which is written
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
    for (const bytes of encodedPieces(entry, entry.data, source)) {
      file.set(bytes, end);
      end += bytes.length;
    }
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

/** Checks entries one after the other. */
function placing(path: string): <E extends TensorEntry>(entry: E) => E & PlacedEntry {
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
 * Gives the bytes of a tensor to `write`, piece by piece.
 * @throws LinnetError `SHAPE` if the data does not fit the entry, `FORMAT` for a type that cannot be written
 */
export async function writeTensor(
  entry: PlacedEntry,
  path: string,
  write: (bytes: Uint8Array) => void | Promise<void>,
): Promise<void> {
  const data = typeof entry.data === 'function' ? await entry.data() : entry.data;
  if (ArrayBuffer.isView(data)) {
    for (const bytes of encodedPieces(entry, data, path)) await write(bytes);
    return;
  }
  const { bytesIn, label } = encoding(entry, path);
  let written = 0;
  for await (const piece of data) {
    const bytes = bytesIn(piece);
    written += bytes.length;
    if (written <= entry.byteLength) await write(bytes);
  }
  if (written !== entry.byteLength) {
    throw new LinnetError('SHAPE', `${label} takes ${entry.byteLength} bytes, ${written} were given`);
  }
}

function* encodedPieces(entry: PlacedEntry, data: TensorData, path: string): Generator<Uint8Array> {
  const { bytesIn, label } = encoding(entry, path);
  const count = (entry.byteLength * 8) / bitsOf(entry.dtype);
  if (data.length !== count)
    throw new LinnetError('SHAPE', `${label} takes ${count} elements, ${data.length} were given`);
  for (let start = 0; start < count; start += CONVERSION_ELEMENTS) {
    yield bytesIn(data.subarray(start, start + CONVERSION_ELEMENTS));
  }
}

/** An entry's name in errors, and the bytes of its elements in its type. */
function encoding({ name, dtype, shape }: PlacedEntry, path: string) {
  const label = `${path}: tensor ${quoteName(name)} (${dtype} [${shape.join(',')}])`;
  const row = storedDType(dtype);
  if (row.encode === undefined) throw new LinnetError('FORMAT', `${label}: writing this type is not supported`);
  const bytesIn = (data: TensorData): Uint8Array => {
    const bytes = row.encode?.(data);
    if (bytes !== undefined) return bytes;
    throw new LinnetError('SHAPE', `${label} cannot be stored from a ${data.constructor.name}`);
  };
  return { label, bytesIn };
}
