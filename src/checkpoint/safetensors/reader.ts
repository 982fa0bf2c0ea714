/** Reads safetensors files lazily from disk, after checking the whole header; `directory.ts` reads bytes in memory. */
import { basename, dirname, resolve } from 'node:path';
import { LinnetError } from '../../errors.ts';
import {
  type AnyTensor,
  bytesPerElement,
  elementCount,
  type FilePlace,
  tensor,
  type Tensor,
} from '../../graph/tensor.ts';
import { type OpenFile, openInFolder, openRegularFile, readExactly } from '../../files/regular-file.ts';
import { finiteBytes } from '../finite.ts';
import { readAhead } from '../read-ahead.ts';
import type { Float32Rows } from '../weight-file.ts';
import { Directory, type ToFloat32 } from './directory.ts';
import { type SafetensorsHeader, type StoredTensor, headerLength, LENGTH_FIELD_BYTES, parseHeader } from './header.ts';
import { bitsOf, storedDType } from './stored-dtypes.ts';

/**
 * Opens a file and checks its header.
 * @throws LinnetError `NOT_FOUND`, `PATH` if it is not a regular file, `FORMAT` if it is malformed
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  return readSafetensors(await openRegularFile(path), resolve(path));
}

/** The same for a file in a folder. @throws LinnetError like `openInFolder`, and `FORMAT` */
export async function openSafetensorsIn(folder: string, name: string): Promise<SafetensorsFile> {
  return readSafetensors(await openInFolder(folder, name), resolve(folder, name));
}

/** Takes over the handle, and closes it if the header is bad. */
async function readSafetensors(file: OpenFile, source: string): Promise<SafetensorsFile> {
  const { handle, size } = file;
  try {
    const prefix = new Uint8Array(Math.min(LENGTH_FIELD_BYTES, size));
    await readExactly(handle, prefix, 0, source);
    const json = new Uint8Array(headerLength(prefix, size, source));
    await readExactly(handle, json, LENGTH_FIELD_BYTES, source);
    const dataStart = LENGTH_FIELD_BYTES + json.length;
    const header = parseHeader(json, size - dataStart, source);
    return new SafetensorsFile(file, header, dataStart, source);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Bytes of a tensor converted together: enough for a disk, and few enough for a cache. */
export const pieceBytes = 4 << 20;

/** A file on disk; tensors are read on demand, concurrently if need be. Dispose of it. */
export class SafetensorsFile extends Directory implements AsyncDisposable {
  readonly #file: OpenFile;
  readonly #dataStart: number;
  #closing: Promise<void> | undefined;

  constructor(file: OpenFile, header: SafetensorsHeader, dataStart: number, source: string) {
    super(header, source);
    this.#file = file;
    this.#dataStart = dataStart;
  }

  /** Changes when another file is opened, or the file is written to. */
  get version(): string {
    return this.#file.version;
  }

  /**
   * Reads a tensor in its stored type.
   * @throws LinnetError `NOT_FOUND`, or `FORMAT` for types without a host equivalent (BF16: use `readFloat32`)
   */
  async read(name: string): Promise<AnyTensor> {
    const stored = this.find(name);
    return this.decode(name, stored, await this.#bytes(stored));
  }

  /** Reads an F64, F32, F16 or BF16 tensor as float32. @throws LinnetError `NOT_FOUND`, or `FORMAT` for other types */
  async readFloat32(name: string): Promise<Tensor<'float32'>> {
    const stored = this.find(name);
    const { dtype, shape } = stored;
    const convert = this.float32Conversion(name, stored);
    if (dtype === 'F32') return tensor('float32', shape, convert(new Uint8Array(await this.#bytes(stored))));
    const data = new Float32Array(elementCount(shape));
    let done = 0;
    const room = (count: number): Float32Array => data.subarray(done, done + count);
    for await (const { length } of this.#float32Pieces(stored, convert, room)) done += length;
    return tensor('float32', shape, data);
  }

  /**
   * The same in pieces of whole rows, along the last axis, of about 4 MB as stored; a piece is valid until the next is
   * requested, and the one after it is read meanwhile.
   * @throws LinnetError like `readFloat32`
   */
  float32Rows(name: string): Float32Rows {
    const stored = this.find(name);
    const convert = this.float32Conversion(name, stored);
    let kept = new Float32Array(0);
    const room = (count: number): Float32Array => {
      if (kept.length < count) kept = new Float32Array(count);
      return kept.subarray(0, count);
    };
    return { shape: [...stored.shape], pieces: this.#float32Pieces(stored, convert, room) };
  }

  /** Where a numeric tensor lies, for engines that map files; undefined if it is unaligned, or of another type. */
  place(name: string): FilePlace | undefined {
    const { dtype, begin } = this.find(name);
    const { file, toFloat32 } = storedDType(dtype);
    const offset = this.#dataStart + begin;
    if (file === undefined || toFloat32 === undefined || offset % bytesPerElement[file] !== 0) return undefined;
    const { path, unchanged } = this.#file;
    return { folder: dirname(path), file: basename(path), offset, dtype: file, unchanged };
  }

  /** A tensor's stored bytes in pieces, in a buffer; each piece is valid until the next is requested. */
  chunks(name: string, buffer?: Uint8Array<ArrayBuffer>): AsyncGenerator<Uint8Array> {
    const { begin, byteLength } = this.find(name);
    const step = (buffer?.length ?? pieceBytes) / 2;
    return readAhead(byteLength, step, (offset, room) => this.#fill(room, begin + offset), buffer);
  }

  /** See `WeightFile`. */
  isFinite(name: string, chunk: Uint8Array): boolean {
    return finiteBytes(this.find(name).dtype, chunk);
  }

  /** Closes the file. Later reads fail; closing again does nothing. */
  close(): Promise<void> {
    this.#closing ??= this.#file.handle.close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** A fresh buffer, so that element views are aligned wherever the tensor starts in the file. */
  async #bytes({ begin, byteLength }: StoredTensor): Promise<ArrayBuffer> {
    const bytes = new ArrayBuffer(byteLength);
    await this.#fill(new Uint8Array(bytes), begin);
    return bytes;
  }

  /** @param room returns the array for `count` numbers */
  async *#float32Pieces(
    { dtype, shape, begin, byteLength }: StoredTensor,
    convert: ToFloat32,
    room: (count: number) => Float32Array,
  ): AsyncGenerator<Float32Array> {
    const elementBytes = bitsOf(dtype) / 8;
    const rowBytes = Math.max(1, shape.at(-1) ?? 1) * elementBytes;
    const step = Math.max(1, Math.floor(pieceBytes / rowBytes)) * rowBytes;
    const read = (offset: number, room: Uint8Array): Promise<void> => this.#fill(room, begin + offset);
    for await (const piece of readAhead(byteLength, step, read))
      yield convert(piece, room(piece.length / elementBytes));
  }

  async #fill(target: Uint8Array, begin: number): Promise<void> {
    if (this.#closing !== undefined) throw new LinnetError('INPUT', `${this.source} was already closed`);
    await readExactly(this.#file.handle, target, this.#dataStart + begin, this.source);
  }
}
