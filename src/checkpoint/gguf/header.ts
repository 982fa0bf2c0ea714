/**
 * A GGUF file's header: metadata and the list of tensors. Files are untrusted: checks every count, length, type and offset
 * before allocating. Also runs in browsers.
 */
import { LinnetError } from '../../errors.ts';
import { quoteName, shownValue } from '../../files/name-list.ts';
import { elementCount } from '../../graph/tensor.ts';
import { type BlockType, blockType, blockTypeNames, otherTypeName } from './block-types.ts';

/** Bytes readable at any offset. */
export interface ByteSource {
  /** Its name in errors. */
  readonly name: string;
  readonly size: number;
  /** @param length at most the bytes after `offset` @param room to fill. Default: new */
  read(offset: number, length: number, room?: Uint8Array): Promise<Uint8Array>;
}

/** A metadata value; elements are never undefined. Integers beyond 2⁵³ are bigint. */
export type MetadataValue = string | number | bigint | boolean | readonly MetadataValue[];

/** A tensor as its file lists it. */
export interface ListedTensor {
  readonly name: string;
  readonly source: ByteSource;
  readonly type: BlockType;
  /** As other formats write shapes: [columns] or [rows, columns] …. */
  readonly shape: readonly number[];
  /** From the file's start. */
  readonly offset: number;
  readonly byteLength: number;
}

export interface GgufHeader {
  /** Ids of the sought tokens if arrays were skipped. */
  readonly found: readonly number[];
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  readonly tensors: ReadonlyMap<string, ListedTensor>;
}

/** How every file begins. */
export const ggufMagic = 'GGUF';
/** Largest header; vocabularies of 262,000 tokens and their merges take 20 MB. */
const mostHeaderBytes = 1 << 27;
const mostEntries = 1 << 16;
/** Most elements in all arrays together. */
const mostElements = 1 << 22;
const mostNameBytes = 256;
const mostDimensions = 4;
/** Most values in a tensor: far more than any memory holds. */
const mostValues = 2 ** 40;
const mostAlignment = 1 << 20;
const mostNesting = 3;
/** Longest numeric array kept when arrays are skipped: one number per layer. */
const mostPerLayer = 4096;
/** Longest sought text in bytes. */
const mostSought = 32;
/** Bytes read first, enough for most vocabularies; doubles until the header fits. */
const firstBytes = 1 << 23;

/**
 * Reads the header.
 * @param sought texts to find in skipped arrays. Default: none
 * @param arrays whether to keep metadata arrays, such as vocabularies; false skips them. Default true
 * @throws LinnetError `FORMAT` for a malformed file, another version or byte order, and tensors in unsupported formats,
 *   naming what to use instead
 */
export async function readGgufHeader(
  source: ByteSource,
  { arrays = true, sought = new Set() }: { readonly arrays?: boolean; readonly sought?: ReadonlySet<string> } = {},
): Promise<GgufHeader> {
  const most = Math.min(source.size, mostHeaderBytes);
  let bytes = new Uint8Array(0);
  for (let wanted = firstBytes; ; ) {
    const longer = new Uint8Array(Math.min(most, Math.max(wanted, 2 * bytes.length)));
    longer.set(bytes);
    await source.read(bytes.length, longer.length - bytes.length, longer.subarray(bytes.length));
    bytes = longer;
    const cursor = cursorOver(source, bytes, sought);
    try {
      return headerAt(cursor, source, arrays);
    } catch (error) {
      wanted = cursor.wanted();
      if (wanted <= bytes.length || wanted > most) throw error;
    }
  }
}

function headerAt(cursor: Cursor, source: ByteSource, arrays: boolean): GgufHeader {
  if (source.size < 24 || cursor.text(ggufMagic.length) !== ggufMagic) throw cursor.error('is not a GGUF file');
  const version = cursor.u32();
  if (version !== 2 && version !== 3) {
    const swapped = version > 0xffff ? ', written by a machine of the other byte order' : '';
    throw cursor.error(`is GGUF of version ${version}${swapped}; take a file of version 2 or 3, little-endian`);
  }
  const tensorCount = cursor.count('tensors', mostEntries);
  const entryCount = cursor.count('entries of metadata', mostEntries);
  const metadata = new Map<string, MetadataValue | undefined>();
  for (let i = 0; i < entryCount; i++) {
    const key = cursor.text(cursor.count('bytes of a name', mostNameBytes));
    if (metadata.has(key)) throw cursor.error(`has the metadata ${quoteName(key)} twice`);
    metadata.set(key, cursor.value(cursor.u32(), arrays));
  }
  const listed = Array.from({ length: tensorCount }, () => tensorEntry(cursor));
  const values = new Map([...metadata].flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])));
  return {
    found: cursor.found,
    metadata: values,
    tensors: placed(cursor, source, listed, alignmentOf(values, cursor)),
  };
}

/** A tensor whose offset counts from the start of the data. */
type Entry = Pick<ListedTensor, 'name' | 'type' | 'shape' | 'offset'>;

function tensorEntry(cursor: Cursor): Entry {
  const name = cursor.text(cursor.count('bytes of a name', mostNameBytes));
  const dimensions = cursor.u32();
  const label = `tensor ${quoteName(name)}`;
  if (name === '' || dimensions < 1 || dimensions > mostDimensions) {
    throw cursor.error(`has a ${label} of ${dimensions} dimensions`);
  }
  const sizes = Array.from({ length: dimensions }, () => cursor.count(`as a size of ${label}`));
  const id = cursor.u32();
  const offset = cursor.count(`as the place of ${label}`);
  const type = blockType(id);
  if (type === undefined) {
    const known = blockTypeNames().join(', ');
    throw cursor.error(
      `holds ${label} as ${otherTypeName(id)}, which Linnet does not read; take a file of the same model in one of ` +
        `${known} (files called Q4_K_M, Q5_K_M, Q6_K, Q8_0 are)`,
    );
  }
  const count = elementCount(sizes);
  if (!(count >= 1 && count <= mostValues) || sizes[0] % type.values !== 0) {
    const wanted = type.values === 1 ? '' : `, rows of multiples of ${type.values} being expected of ${type.name}`;
    throw cursor.error(`has a ${label} of sizes ${sizes.join(' × ')}${wanted}`);
  }
  return { name, type, shape: sizes.toReversed(), offset };
}

function alignmentOf(metadata: ReadonlyMap<string, MetadataValue>, cursor: Cursor): number {
  const alignment = metadata.get('general.alignment') ?? 32;
  if (
    typeof alignment === 'number' &&
    alignment >= 8 &&
    alignment <= mostAlignment &&
    Number.isInteger(Math.log2(alignment))
  ) {
    return alignment;
  }
  throw cursor.error(`has the general.alignment ${shownValue(alignment)}, expected a power of two from 8`);
}

/** Checks that tensors lie in the file, aligned and apart. @param cursor just after the header */
function placed(
  cursor: Cursor,
  source: ByteSource,
  listed: readonly Entry[],
  alignment: number,
): ReadonlyMap<string, ListedTensor> {
  const { size } = source;
  const start = Math.ceil(cursor.position() / alignment) * alignment;
  const tensors = new Map<string, ListedTensor>();
  let end = start;
  for (const { name, type, shape, offset } of listed.toSorted((a, b) => a.offset - b.offset)) {
    const byteLength = (elementCount(shape) / type.values) * type.bytes;
    const place = start + offset;
    const label = `tensor ${quoteName(name)}`;
    if (tensors.has(name)) throw cursor.error(`lists ${label} twice`);
    if (offset % alignment !== 0 || place < end) {
      throw cursor.error(`has ${label} at byte ${place}, inside of another or not at a multiple of ${alignment}`);
    }
    end = place + byteLength;
    if (end > size) {
      throw cursor.error(`is incomplete or damaged: ${label} would end at byte ${end} of ${size}; fetch it again`);
    }
    tensors.set(name, { name, source, type, shape, offset: place, byteLength });
  }
  return tensors;
}

/** Fixed-size metadata types: their bytes, and the method that reads them. */
const plainTypes: Readonly<Record<number, readonly [bytes: number, read: keyof DataView & `get${string}`]>> = {
  0: [1, 'getUint8'],
  1: [1, 'getInt8'],
  2: [2, 'getUint16'],
  3: [2, 'getInt16'],
  4: [4, 'getUint32'],
  5: [4, 'getInt32'],
  6: [4, 'getFloat32'],
  7: [1, 'getUint8'],
  10: [8, 'getBigUint64'],
  11: [8, 'getBigInt64'],
  12: [8, 'getFloat64'],
};
const flagType = 7;
const textType = 8;
const arrayType = 9;

function narrowed(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

type Cursor = ReturnType<typeof cursorOver>;

/** Reads a header from its first bytes. */
function cursorOver({ name, size }: ByteSource, all: Uint8Array<ArrayBuffer>, sought: ReadonlySet<string>) {
  const view = new DataView(all.buffer);
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true }); // a token may begin with U+FEFF
  /** First bytes of sought texts. */
  const begins = new Set([...sought].map((text) => text.charCodeAt(0)));
  const found: number[] = [];
  let [position, wanted, elements] = [0, 0, 0];

  const error = (what: string): LinnetError => new LinnetError('FORMAT', `${name} ${what}`);

  /** Skips the next bytes. @returns where they begin */
  function take(length: number): number {
    const at = position;
    const end = at + length;
    if (end > all.length) {
      wanted = end;
      const limit = `the file ends at byte ${size}, and at most ${mostHeaderBytes} are read of a header`;
      throw error(`has a header that would go on to byte ${end}; ${limit}`);
    }
    position = end;
    return at;
  }

  const u32 = (): number => view.getUint32(take(4), true);

  /** A 64-bit whole number. */
  function count(what: string, most = Number.MAX_SAFE_INTEGER): number {
    const number = narrowed(view.getBigUint64(take(8), true));
    if (typeof number === 'number' && number <= most) return number;
    throw error(`announces ${number} ${what}, at most ${most} are expected`);
  }

  function text(length: number): string {
    const at = take(length);
    const bytes = all.subarray(at, at + length);
    if (length > 24) return decoder.decode(bytes);
    let short = ''; // vocabularies have many short texts
    for (const byte of bytes) {
      if (byte > 0x7f) return decoder.decode(bytes);
      short += String.fromCharCode(byte);
    }
    return short;
  }

  /** A metadata value; undefined for a skipped array. */
  function value(type: number, arrays: boolean, depth = 0): MetadataValue | undefined {
    if (type === textType) return text(count('bytes of a text', mostHeaderBytes));
    if (type === arrayType) return array(arrays, depth + 1);
    if (!Object.hasOwn(plainTypes, type)) throw error(`has metadata of the unknown type ${type}`);
    const [bytes, read] = plainTypes[type];
    const stored = view[read](take(bytes), true);
    if (typeof stored === 'bigint') return narrowed(stored);
    return type === flagType ? stored !== 0 : stored;
  }

  function array(arrays: boolean, depth: number): readonly MetadataValue[] | undefined {
    if (depth > mostNesting) throw error('has arrays inside of arrays inside of arrays');
    const type = u32();
    const length = count('elements of an array', mostElements - elements);
    elements += length;
    if (type === textType && !arrays) {
      for (let i = 0; i < length; i++) seek(i);
      return undefined;
    }
    const values: MetadataValue[] = [];
    for (let i = 0; i < length; i++) values.push(value(type, arrays, depth) ?? []);
    return arrays || (type !== arrayType && length <= mostPerLayer) ? values : undefined;
  }

  /** Skips a text in an array, noting its index if it is sought. */
  function seek(index: number): void {
    const length = count('bytes of a text', mostHeaderBytes);
    const at = take(length);
    if (length > mostSought || !begins.has(all[at])) return;
    position = at;
    if (sought.has(text(length))) found.push(index);
  }

  return {
    error,
    u32,
    count,
    text,
    value,
    found,
    /** The next byte's offset in the file. */
    position: () => position,
    /** The header's least size, once it exceeds the bytes in memory. */
    wanted: () => wanted,
  };
}
