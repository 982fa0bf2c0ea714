/**
 * Writing safetensors files tensor by tensor: names, types and shapes are known first, the data of each tensor is asked
 * for when its turn comes, so a model larger than memory can be written.
 */
import { LinnetError } from '../../errors.ts';
import { writeFileAtomic } from '../../files/atomic.ts';
import { quoteName } from '../../files/name-list.ts';
import { TRANSFER_BYTES, writeFully } from '../../files/regular-file.ts';
import { checkTensorName, LENGTH_FIELD_BYTES, MAX_HEADER_BYTES, METADATA_KEY, tensorBytes } from './header.ts';
import type { StoredDType, TensorData } from './stored-dtypes.ts';
import { bitsOf, storedDType } from './stored-dtypes.ts';

/** The data of a tensor, or a function that produces it when its turn comes. */
export type TensorSource = TensorData | (() => TensorData | Promise<TensorData>);

/** A tensor to be written. float32 data may be stored as F32, F16 or BF16; other data only as its own type. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** Product-of-`shape` elements. F16 and BF16 take rounded Float32Array values or Uint16Array bit patterns. */
  readonly data: TensorSource;
}

interface PlacedEntry extends TensorEntry {
  readonly byteLength: number;
}

/** The header is padded to this, so that data starts aligned for every element type. */
const ALIGNMENT = 8;
/** Elements converted at a time: bounds the memory of a narrowing conversion. */
const CONVERSION_ELEMENTS = TRANSFER_BYTES / 8;

/**
 * Writes a file under a temporary name and renames it into place when complete and durable. The data is laid out with
 * wide element types first, so that every tensor is aligned; within a type, in the order given. Sources are called in that
 * order, one at a time.
 * @param metadata strings for the header, for example { format: 'pt' }, which PyTorch readers ask for
 * @throws LinnetError `FORMAT` for unusable names, shapes or types, `SHAPE` if data does not fit its entry, `PATH` or
 *   `NOT_FOUND` from the file system, or whatever a source throws; the old file, if any, is untouched then
 */
export async function writeSafetensors(
  path: string,
  entries: Iterable<TensorEntry> | AsyncIterable<TensorEntry>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { placed, header } = await placeEntries(entries, metadata, path);
  await writeFileAtomic(path, async (handle) => {
    await writeFully(handle, header);
    for (const entry of placed) await writeTensor(entry, path, (bytes) => writeFully(handle, bytes));
  });
}

/**
 * The bytes of such a file, in memory.
 * @param source how errors name it
 * @throws LinnetError `FORMAT` and `SHAPE` as `writeSafetensors`
 */
export async function encodeSafetensors(
  entries: Iterable<TensorEntry>,
  metadata: Readonly<Record<string, string>> = {},
  source = 'safetensors bytes',
): Promise<Uint8Array> {
  const { placed, header } = await placeEntries(entries, metadata, source);
  const file = new Uint8Array(placed.reduce((sum, { byteLength }) => sum + byteLength, header.length));
  file.set(header);
  let end = header.length;
  for (const entry of placed) {
    await writeTensor(entry, source, (bytes) => {
      file.set(bytes, end);
      end += bytes.length;
    });
  }
  return file;
}

async function placeEntries(
  entries: Iterable<TensorEntry> | AsyncIterable<TensorEntry>,
  metadata: Readonly<Record<string, string>>,
  path: string,
): Promise<{ readonly placed: readonly PlacedEntry[]; readonly header: Uint8Array }> {
  const placed: PlacedEntry[] = [];
  const names = new Set<string>();
  for await (const entry of entries) {
    checkTensorName(entry.name, path);
    if (names.has(entry.name))
      throw new LinnetError('FORMAT', `${path}: two tensors are named ${quoteName(entry.name)}`);
    names.add(entry.name);
    placed.push({ ...entry, byteLength: tensorBytes(entry.name, entry.dtype, entry.shape, path) });
  }
  placed.sort((a, b) => bitsOf(b.dtype) - bitsOf(a.dtype));
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
  const json = Buffer.from(`{${members.join(',')}}`);
  const length = Math.ceil(json.length / ALIGNMENT) * ALIGNMENT;
  if (length > MAX_HEADER_BYTES) {
    throw new LinnetError(
      'FORMAT',
      `${path}: the header would take ${length} bytes, at most ${MAX_HEADER_BYTES} are allowed`,
    );
  }
  const header = Buffer.alloc(LENGTH_FIELD_BYTES + length, ' ');
  header.writeBigUInt64LE(BigInt(length));
  header.set(json, LENGTH_FIELD_BYTES);
  return header;
}

async function writeTensor(
  entry: PlacedEntry,
  path: string,
  write: (bytes: Uint8Array) => void | Promise<void>,
): Promise<void> {
  const { name, dtype, shape, byteLength } = entry;
  const data = typeof entry.data === 'function' ? await entry.data() : entry.data;
  const label = `${path}: tensor ${quoteName(name)} (${dtype} [${shape.join(',')}])`;
  const count = (byteLength * 8) / bitsOf(dtype);
  if (data.length !== count)
    throw new LinnetError('SHAPE', `${label} takes ${count} elements, ${data.length} were given`);
  const { encode } = storedDType(dtype);
  if (encode === undefined) throw new LinnetError('FORMAT', `${label}: writing this type is not supported`);
  for (let start = 0; start < count; start += CONVERSION_ELEMENTS) {
    const bytes = encode(data.subarray(start, start + CONVERSION_ELEMENTS));
    if (bytes === undefined) {
      throw new LinnetError('SHAPE', `${label} cannot be stored from a ${data.constructor.name}`);
    }
    await write(bytes);
  }
}
