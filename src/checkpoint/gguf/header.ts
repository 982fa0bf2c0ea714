/**
 * The header of a GGUF file: metadata and the list of tensors. A file can come from anybody, so that every count, length, type and
 * offset is checked before memory is taken for it. Runs in browsers too.
 */
import { LinnetError } from '../../errors.ts';
import { quoteName, shownValue } from '../../files/name-list.ts';
import { type BlockType, blockType, blockTypeNames, otherTypeName } from './block-types.ts';

/** Bytes that can be read at any place. */
export interface ByteSource {
  /** How errors name it. */
  readonly name: string;
  readonly size: number;
  /** @param length at most the number of bytes behind `offset` @param room for them. Default: new */
  read(offset: number, length: number, room?: Uint8Array): Promise<Uint8Array>;
}

/** A value of the metadata; undefined elements are not possible. Integers beyond 2⁵³ are bigint. */
export type MetadataValue = string | number | bigint | boolean | readonly MetadataValue[];

/** A tensor as its file lists it. */
export interface ListedTensor {
  readonly name: string;
  readonly source: ByteSource;
  readonly type: BlockType;
  /** Rows last: [columns] or [rows, columns] …, as the other formats write shapes. */
  readonly shape: readonly number[];
  /** In the file. */
  readonly offset: number;
  readonly byteLength: number;
}

export interface GgufHeader {
  /** Ids of sought tokens, where arrays are passed over. */
  readonly found: readonly number[];
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  readonly tensors: ReadonlyMap<string, ListedTensor>;
}

/** Most bytes of a header; vocabularies of 262,000 tokens and their merges take 20 MB. */
const mostHeaderBytes = 1 << 27;
const mostEntries = 1 << 16;
/** Elements of all arrays together. */
const mostElements = 1 << 22;
const mostNameBytes = 256;
const mostDimensions = 4;
/** Most values of a tensor: far more than fit into any memory. */
const mostValues = 2 ** 40;
const mostAlignment = 1 << 20;
const mostNesting = 3;
/** Longest array of numbers that is kept where arrays are passed over: a number a layer. */
const mostPerLayer = 4096;
/** Bytes of a text that is looked for. */
const mostSought = 32;
/** Bytes that are fetched at once. */
const chunkBytes = 1 << 20;

/**
 * Reads the header.
 * @param sought texts of arrays that are passed over. Default: none
 * @param arrays whether arrays of the metadata, such as vocabularies, are kept; false: they are passed over and absent. Default true
 * @throws LinnetError `FORMAT` for a malformed file, for one of another version or byte order, and for tensors of formats
 *   that are not read, with what to take instead
 */
export async function readGgufHeader(
  source: ByteSource,
  { arrays = true, sought = new Set() }: { readonly arrays?: boolean; readonly sought?: ReadonlySet<string> } = {},
): Promise<GgufHeader> {
  const cursor = new Cursor(source, sought);
  if (source.size < 24 || (await cursor.bytes(4)).join() !== '71,71,85,70') throw cursor.error('is not a GGUF file');
  const version = await cursor.u32();
  if (version !== 2 && version !== 3) {
    const swapped = version > 0xffff ? ', written by a machine of the other byte order' : '';
    throw cursor.error(`is GGUF of version ${version}${swapped}; versions 2 and 3, little-endian, are read`);
  }
  const tensorCount = await cursor.count('tensors', mostEntries);
  const entryCount = await cursor.count('entries of metadata', mostEntries);
  const metadata = new Map<string, MetadataValue>();
  const seen = new Set<string>();
  for (let i = 0; i < entryCount; i++) {
    const key = await cursor.text(mostNameBytes);
    if (seen.has(key)) throw cursor.error(`has the metadata ${quoteName(key)} twice`);
    seen.add(key);
    const value = await cursor.value(await cursor.u32(), arrays, 0);
    if (value !== undefined) metadata.set(key, value);
  }
  const listed: Entry[] = [];
  for (let i = 0; i < tensorCount; i++) listed.push(await tensorEntry(cursor));
  return {
    found: cursor.found,
    metadata,
    tensors: placed(source, listed, cursor.position, alignmentOf(metadata, source)),
  };
}

/** A tensor whose place counts from the beginning of the data. */
type Entry = Pick<ListedTensor, 'name' | 'type' | 'shape' | 'offset'>;

async function tensorEntry(cursor: Cursor): Promise<Entry> {
  const name = await cursor.text(mostNameBytes);
  const dimensions = await cursor.u32();
  const label = `tensor ${quoteName(name)}`;
  if (name === '' || dimensions < 1 || dimensions > mostDimensions) {
    throw cursor.error(`has a ${label} of ${dimensions} dimensions`);
  }
  const sizes: number[] = [];
  for (let i = 0; i < dimensions; i++) sizes.push(await cursor.whole(`size of ${label}`));
  const id = await cursor.u32();
  const offset = await cursor.whole(`place of ${label}`);
  const type = blockType(id);
  if (type === undefined) {
    const known = blockTypeNames().join(', ');
    throw cursor.error(
      `holds ${label} as ${otherTypeName(id)}, which Linnet does not read; take a file of the same model in one of ` +
        `${known} (files called Q4_K_M, Q5_K_M, Q6_K, Q8_0 are)`,
    );
  }
  const count = sizes.reduce((product, size) => product * size, 1);
  if (!(count >= 1 && count <= mostValues) || sizes[0] % type.values !== 0) {
    const wanted = type.values === 1 ? '' : `, rows of multiples of ${type.values} being expected of ${type.name}`;
    throw cursor.error(`has a ${label} of sizes ${sizes.join(' × ')}${wanted}`);
  }
  return { name, type, shape: sizes.toReversed(), offset };
}

function alignmentOf(metadata: ReadonlyMap<string, MetadataValue>, { name }: ByteSource): number {
  const alignment = metadata.get('general.alignment') ?? 32;
  if (
    typeof alignment === 'number' &&
    alignment >= 8 &&
    alignment <= mostAlignment &&
    Number.isInteger(Math.log2(alignment))
  ) {
    return alignment;
  }
  throw new LinnetError(
    'FORMAT',
    `${name}: general.alignment is ${shownValue(alignment)}, expected a power of two from 8`,
  );
}

/** Checks that tensors lie in the file, aligned and apart. */
function placed(
  source: ByteSource,
  listed: readonly Entry[],
  headerEnd: number,
  alignment: number,
): ReadonlyMap<string, ListedTensor> {
  const { name: file, size } = source;
  const start = Math.ceil(headerEnd / alignment) * alignment;
  const tensors = new Map<string, ListedTensor>();
  let end = start;
  for (const { name, type, shape, offset } of listed.toSorted((a, b) => a.offset - b.offset)) {
    const byteLength = (shape.reduce((product, one) => product * one, 1) / type.values) * type.bytes;
    const place = start + offset;
    const label = `${file}: tensor ${quoteName(name)}`;
    if (tensors.has(name)) throw new LinnetError('FORMAT', `${label} is listed twice`);
    if (offset % alignment !== 0 || place < end) {
      throw new LinnetError(
        'FORMAT',
        `${label} begins at ${place}, inside of another or not at a multiple of ${alignment}`,
      );
    }
    end = place + byteLength;
    if (end > size) {
      const why = 'the file is incomplete or damaged; fetch it again';
      throw new LinnetError('FORMAT', `${label} would end at byte ${end} of ${size}: ${why}`);
    }
    tensors.set(name, { name, source, type, shape, offset: place, byteLength });
  }
  return tensors;
}

/** Numbers of the metadata by type: bytes of each, and its value. */
const numberTypes: Readonly<
  Record<number, readonly [bytes: number, read: (view: DataView, at: number) => number | bigint]>
> = {
  0: [1, (view, at) => view.getUint8(at)],
  1: [1, (view, at) => view.getInt8(at)],
  2: [2, (view, at) => view.getUint16(at, true)],
  3: [2, (view, at) => view.getInt16(at, true)],
  4: [4, (view, at) => view.getUint32(at, true)],
  5: [4, (view, at) => view.getInt32(at, true)],
  6: [4, (view, at) => view.getFloat32(at, true)],
  10: [8, (view, at) => narrowed(view.getBigUint64(at, true))],
  11: [8, (view, at) => narrowed(view.getBigInt64(at, true))],
  12: [8, (view, at) => view.getFloat64(at, true)],
};
const booleanType = 7;
const textType = 8;
const arrayType = 9;

function narrowed(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Reads a header from its beginning on, a chunk of the file at a time. */
class Cursor {
  /** Of the next byte, in the file. */
  position = 0;
  readonly #source: ByteSource;
  readonly #decoder = new TextDecoder();
  #chunk: Uint8Array = new Uint8Array(0);
  #view = new DataView(this.#chunk.buffer);
  #start = 0;
  #elements = 0;
  readonly #sought: ReadonlySet<string>;
  /** First bytes of sought texts. */
  readonly #begins: ReadonlySet<number>;
  readonly found: number[] = [];

  constructor(source: ByteSource, sought: ReadonlySet<string>) {
    this.#source = source;
    this.#sought = sought;
    this.#begins = new Set([...sought].map((text) => text.charCodeAt(0)));
  }

  error(what: string): LinnetError {
    return new LinnetError('FORMAT', `${this.#source.name} ${what}`);
  }

  /** Room for the next bytes in the chunk. @returns where they begin in it */
  async #take(length: number): Promise<number> {
    const end = this.position + length;
    if (!(end <= Math.min(this.#source.size, mostHeaderBytes))) {
      const limit = `the file ends at byte ${this.#source.size}, and at most ${mostHeaderBytes} are read of a header`;
      throw this.error(`has a header that would go on to byte ${end}; ${limit}`);
    }
    if (end > this.#start + this.#chunk.length) {
      const size = Math.min(this.#source.size - this.position, Math.max(length, chunkBytes));
      this.#chunk = await this.#source.read(this.position, size);
      this.#view = new DataView(this.#chunk.buffer, this.#chunk.byteOffset, this.#chunk.byteLength);
      this.#start = this.position;
    }
    const at = this.position - this.#start;
    this.position = end;
    return at;
  }

  /** Whether the next bytes are in memory: then `#take` need not be waited for. */
  #has(length: number): boolean {
    return this.position + length <= this.#start + this.#chunk.length;
  }

  async bytes(length: number): Promise<Uint8Array> {
    const at = await this.#take(length);
    return this.#chunk.subarray(at, at + length);
  }

  async u32(): Promise<number> {
    const at = await this.#take(4);
    return this.#view.getUint32(at, true);
  }

  /** A whole number of 64 bits. */
  async whole(what: string): Promise<number> {
    const at = await this.#take(8);
    const value = narrowed(this.#view.getBigUint64(at, true));
    if (typeof value === 'number') return value;
    throw this.error(`gives ${value} as the ${what}`);
  }

  async count(what: string, most: number): Promise<number> {
    const count = await this.whole(`number of ${what}`);
    if (count <= most) return count;
    throw this.error(`announces ${count} ${what}, at most ${most} are expected`);
  }

  async text(most = mostHeaderBytes): Promise<string> {
    const length = await this.whole('length of a text');
    if (length > most) throw this.error(`has a text of ${length} bytes where at most ${most} are expected`);
    const at = await this.#take(length);
    return this.#text(at, length);
  }

  #text(at: number, length: number): string {
    const bytes = this.#chunk.subarray(at, at + length);
    if (length > 24) return this.#decoder.decode(bytes);
    let text = ''; // short ones, of which a vocabulary has many
    for (const byte of bytes) {
      if (byte > 0x7f) return this.#decoder.decode(bytes);
      text += String.fromCharCode(byte);
    }
    return text;
  }

  /** A value of the metadata; undefined for an array that is passed over. */
  async value(type: number, arrays: boolean, depth: number): Promise<MetadataValue | undefined> {
    if (type === textType) return this.text();
    if (type === arrayType) return this.#array(arrays, depth + 1);
    const at = await this.#take(this.#sizeOf(type));
    return this.#plain(type, at);
  }

  #sizeOf(type: number): number {
    if (type === booleanType) return 1;
    if (Object.hasOwn(numberTypes, type)) return numberTypes[type][0];
    throw this.error(`has metadata of the unknown type ${type}`);
  }

  #plain(type: number, at: number): number | bigint | boolean {
    return type === booleanType ? this.#view.getUint8(at) !== 0 : numberTypes[type][1](this.#view, at);
  }

  async #array(keep: boolean, depth: number): Promise<readonly MetadataValue[] | undefined> {
    if (depth > mostNesting) throw this.error('has arrays inside of arrays inside of arrays');
    const type = await this.u32();
    const count = await this.count('elements of an array', mostElements - this.#elements);
    this.#elements += count;
    if (type === textType) return this.#texts(count, keep);
    if (type === arrayType) {
      const values: MetadataValue[] = [];
      for (let i = 0; i < count; i++) values.push((await this.#array(keep, depth + 1)) ?? []);
      return keep ? values : undefined;
    }
    const size = this.#sizeOf(type);
    const at = await this.#take(count * size);
    return keep || count <= mostPerLayer
      ? Array.from({ length: count }, (_, i) => this.#plain(type, at + i * size))
      : undefined;
  }

  async #texts(count: number, keep: boolean): Promise<readonly string[] | undefined> {
    const texts: string[] = [];
    for (let i = 0; i < count; i++) {
      // Waiting for each would take longer than reading it.
      if (!this.#has(8)) await this.#refill(8);
      const length = Number(this.#view.getBigUint64(this.position - this.#start, true));
      this.position += 8;
      if (!this.#has(length)) await this.#refill(length);
      const at = this.position - this.#start;
      if (keep) texts.push(this.#text(at, length));
      else if (length <= mostSought && this.#begins.has(this.#chunk[at]) && this.#sought.has(this.#text(at, length))) {
        this.found.push(i);
      }
      this.position += length;
    }
    return keep ? texts : undefined;
  }

  /** Puts the next bytes into memory. */
  async #refill(length: number): Promise<void> {
    await this.#take(length);
    this.position -= length;
  }
}
