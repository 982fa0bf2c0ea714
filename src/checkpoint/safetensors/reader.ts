/** Reading safetensors files: lazily from disk, or from bytes in memory. The header is checked in full beforehand. */
import { basename, dirname, resolve } from 'node:path';
import { LinnetError } from '../../errors.ts';
import {
  type AnyTensor,
  bytesPerElement,
  elementCount,
  type FilePlace,
  tensor,
  type Tensor,
  tensorFromBytes,
} from '../../graph/tensor.ts';
import { quoteName } from '../../files/name-list.ts';
import type { OpenFile } from '../../files/regular-file.ts';
import { openRegularFile, readExactly } from '../../files/regular-file.ts';
import type { SafetensorsHeader, StoredTensor } from './header.ts';
import { headerLength, LENGTH_FIELD_BYTES, parseHeader } from './header.ts';
import type { StoredDType } from './stored-dtypes.ts';
import { bitsOf, storedDType } from './stored-dtypes.ts';

/** A tensor as the file stores it. */
export interface TensorInfo {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly byteLength: number;
}

/** A tensor in float32, in pieces. */
export interface Float32Rows {
  readonly shape: readonly number[];
  readonly pieces: AsyncGenerator<Float32Array>;
}

/** Methods of both readers that touch no tensor data. */
export interface SafetensorsDirectory {
  /** Name used in errors. */
  readonly source: string;
  /** The string map of the header; empty if there is none. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Tensor names in the order of the header. */
  names(): string[];
  /** @throws LinnetError `NOT_FOUND` if there is no such tensor */
  info(name: string): TensorInfo;
}

/** A file on disk; tensors are read when asked for, concurrent reads are fine. */
export interface SafetensorsFile extends SafetensorsDirectory {
  /** Differs where another file is opened, or the file was written to. */
  readonly version: string;
  /**
   * Reads a tensor in its stored type.
   * @throws LinnetError `NOT_FOUND`, or `FORMAT` for types without a host equivalent (BF16: use `readFloat32`)
   */
  read(name: string): Promise<AnyTensor>;
  /** Reads a F64, F32, F16 or BF16 tensor as float32. @throws LinnetError `NOT_FOUND`, or `FORMAT` for other types */
  readFloat32(name: string): Promise<Tensor<'float32'>>;
  /**
   * The same in pieces of whole rows, along the last axis, of about 4 MB as stored; a piece is valid until the next is asked
   * for, and the one after it is read meanwhile.
   * @throws LinnetError as `readFloat32`
   */
  float32Rows(name: string): Float32Rows;
  /** Where a tensor of numbers lies, for engines that map files; undefined where it is not aligned, or of no such type. */
  place(name: string): FilePlace | undefined;
  /** The stored bytes of a tensor in pieces, in a buffer; each piece is valid until the next is asked for. */
  chunks(name: string, buffer?: Uint8Array): AsyncGenerator<Uint8Array>;
  /** Closes the file. Reads after it fail; closing again does nothing. */
  close(): Promise<void>;
}

/** A file in memory. Tensors are copies, so they do not keep the bytes alive. Errors as in `SafetensorsFile`. */
export interface SafetensorsBytes extends SafetensorsDirectory {
  read(name: string): AnyTensor;
  /** As `read`, but a view of the file's bytes where they are aligned, for callers that keep neither. F32 and I32 only. */
  view(name: string): Tensor<'float32' | 'int32'>;
  readFloat32(name: string): Tensor<'float32'>;
}

/**
 * Opens a file and checks its header.
 * @throws LinnetError `NOT_FOUND`, `PATH` if it is not a regular file, `FORMAT` if it is malformed
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  return readSafetensors(await openRegularFile(path), resolve(path));
}

/** Like `openSafetensors` for a file that is already open; takes over the handle, and closes it if the header is bad. */
export async function readSafetensors(file: OpenFile, source: string): Promise<SafetensorsFile> {
  const { handle, size } = file;
  try {
    const prefix = new Uint8Array(Math.min(LENGTH_FIELD_BYTES, size));
    await readExactly(handle, prefix, 0, source);
    const json = new Uint8Array(headerLength(prefix, size, source));
    await readExactly(handle, json, LENGTH_FIELD_BYTES, source);
    const dataStart = LENGTH_FIELD_BYTES + json.length;
    const header = parseHeader(json, size - dataStart, source);
    return new FileReader(file, header, dataStart, source);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * Reads a whole file held in memory.
 * @param source how errors name it
 * @throws LinnetError `FORMAT` if it is malformed
 */
export function parseSafetensors(bytes: Uint8Array, source = 'safetensors bytes'): SafetensorsBytes {
  const length = headerLength(bytes.subarray(0, LENGTH_FIELD_BYTES), bytes.length, source);
  const dataStart = LENGTH_FIELD_BYTES + length;
  const header = parseHeader(bytes.subarray(LENGTH_FIELD_BYTES, dataStart), bytes.length - dataStart, source);
  return new BytesReader(bytes.subarray(dataStart), header, source);
}

type ToFloat32 = NonNullable<ReturnType<typeof storedDType>['toFloat32']>;

/** Bytes of a tensor that are converted together: enough for a disk, and little enough for a cache. */
export const pieceBytes = 4 << 20;

class Directory implements SafetensorsDirectory {
  readonly source: string;
  readonly metadata: ReadonlyMap<string, string>;
  readonly #tensors: ReadonlyMap<string, StoredTensor>;

  constructor(header: SafetensorsHeader, source: string) {
    this.source = source;
    this.metadata = header.metadata;
    this.#tensors = header.tensors;
  }

  names(): string[] {
    return [...this.#tensors.keys()];
  }

  info(name: string): TensorInfo {
    const { dtype, shape, byteLength } = this.find(name);
    return { dtype, shape: [...shape], byteLength };
  }

  protected find(name: string): StoredTensor {
    const stored = this.#tensors.get(name);
    if (stored === undefined) {
      throw new LinnetError(
        'NOT_FOUND',
        `${this.source} has no tensor ${quoteName(name)} among its ${this.#tensors.size}`,
      );
    }
    return stored;
  }

  protected decode(name: string, { dtype, shape }: StoredTensor, bytes: ArrayBuffer): AnyTensor {
    const { decode, toFloat32 } = storedDType(dtype);
    if (decode === undefined) {
      const advice = toFloat32 === undefined ? 'this type is not supported' : 'read it as float32';
      throw new LinnetError('FORMAT', `${this.source}: tensor ${quoteName(name)} is ${dtype}; ${advice}`);
    }
    try {
      return decode(bytes, shape);
    } catch (cause) {
      if (!(cause instanceof LinnetError)) throw cause;
      throw new LinnetError(cause.code, `${this.source}: tensor ${quoteName(name)}: ${cause.message}`, { cause });
    }
  }

  protected float32Conversion(name: string, { dtype }: StoredTensor): ToFloat32 {
    const { toFloat32 } = storedDType(dtype);
    if (toFloat32 !== undefined) return toFloat32;
    throw new LinnetError(
      'FORMAT',
      `${this.source}: tensor ${quoteName(name)} is ${dtype}, expected F32, F16, BF16 or F64`,
    );
  }
}

class FileReader extends Directory implements SafetensorsFile {
  readonly #file: OpenFile;
  readonly #dataStart: number;
  #closing: Promise<void> | undefined;

  constructor(file: OpenFile, header: SafetensorsHeader, dataStart: number, source: string) {
    super(header, source);
    this.#file = file;
    this.#dataStart = dataStart;
  }

  get version(): string {
    return this.#file.version;
  }

  async read(name: string): Promise<AnyTensor> {
    const stored = this.find(name);
    return this.decode(name, stored, await this.#bytes(stored));
  }

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

  place(name: string): FilePlace | undefined {
    const { dtype, begin } = this.find(name);
    const { file, toFloat32 } = storedDType(dtype);
    const offset = this.#dataStart + begin;
    if (file === undefined || toFloat32 === undefined || offset % bytesPerElement[file] !== 0) return undefined;
    const { path, unchanged } = this.#file;
    return { folder: dirname(path), file: basename(path), offset, dtype: file, unchanged };
  }

  async *chunks(name: string, buffer = new Uint8Array(pieceBytes)): AsyncGenerator<Uint8Array> {
    const { begin, byteLength } = this.find(name);
    for (let done = 0; done < byteLength; done += buffer.length) {
      const chunk = buffer.subarray(0, Math.min(buffer.length, byteLength - done));
      await this.#fill(chunk, begin + done);
      yield chunk;
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#file.handle.close();
    return this.#closing;
  }

  /** A fresh buffer, so that element views are aligned wherever the tensor starts in the file. */
  async #bytes({ begin, byteLength }: StoredTensor): Promise<ArrayBuffer> {
    const bytes = new ArrayBuffer(byteLength);
    await this.#fill(new Uint8Array(bytes), begin);
    return bytes;
  }

  /** While a piece is used, the next one is read. @param room gives the array for `count` numbers */
  async *#float32Pieces(
    { dtype, shape, begin, byteLength }: StoredTensor,
    convert: ToFloat32,
    room: (count: number) => Float32Array,
  ): AsyncGenerator<Float32Array> {
    const elementBytes = bitsOf(dtype) / 8;
    const rowBytes = Math.max(1, shape.at(-1) ?? 1) * elementBytes;
    const step = Math.max(1, Math.floor(pieceBytes / rowBytes)) * rowBytes;
    const size = Math.min(step, byteLength);
    const buffers = [new Uint8Array(size), new Uint8Array(byteLength > step ? size : 0)];
    const read = (done: number): Promise<Uint8Array<ArrayBuffer>> => {
      const piece = buffers[(done / step) % 2].subarray(0, Math.min(step, byteLength - done));
      const filled = this.#fill(piece, begin + done).then(() => piece);
      filled.catch(() => undefined); // told when the piece is asked for, if it ever is
      return filled;
    };
    let next = read(0);
    for (let done = 0; done < byteLength; done += step) {
      const piece = await next;
      if (done + step < byteLength) next = read(done + step);
      yield convert(piece, room(piece.length / elementBytes));
    }
  }

  async #fill(target: Uint8Array, begin: number): Promise<void> {
    if (this.#closing !== undefined) throw new LinnetError('INPUT', `${this.source} was already closed`);
    await readExactly(this.#file.handle, target, this.#dataStart + begin, this.source);
  }
}

class BytesReader extends Directory implements SafetensorsBytes {
  readonly #data: Uint8Array;

  constructor(data: Uint8Array, header: SafetensorsHeader, source: string) {
    super(header, source);
    this.#data = data;
  }

  read(name: string): AnyTensor {
    const stored = this.find(name);
    return this.decode(name, stored, this.#bytes(stored));
  }

  readFloat32(name: string): Tensor<'float32'> {
    const stored = this.find(name);
    return tensor('float32', stored.shape, this.float32Conversion(name, stored)(new Uint8Array(this.#bytes(stored))));
  }

  view(name: string): Tensor<'float32' | 'int32'> {
    const { dtype, shape, begin, byteLength } = this.find(name);
    const host = dtype === 'F32' ? 'float32' : dtype === 'I32' ? 'int32' : undefined;
    if (host !== undefined) return tensorFromBytes(host, shape, this.#data.subarray(begin, begin + byteLength));
    throw new LinnetError('FORMAT', `${this.source}: tensor ${quoteName(name)} is ${dtype}, expected F32 or I32`);
  }

  #bytes({ begin, byteLength }: StoredTensor): ArrayBuffer {
    const copy = new Uint8Array(byteLength);
    copy.set(this.#data.subarray(begin, begin + byteLength));
    return copy.buffer;
  }
}
