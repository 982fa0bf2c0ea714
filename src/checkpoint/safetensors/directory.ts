/** Reads safetensors files from bytes in memory, and holds the parts that all readers share. Also runs in browsers. */
import { LinnetError } from '../../errors.ts';
import { quoteName } from '../../files/name-list.ts';
import { type AnyTensor, tensor, type Tensor, tensorFromBytes } from '../../graph/tensor.ts';
import { headerLength, LENGTH_FIELD_BYTES, parseHeader, type SafetensorsHeader, type StoredTensor } from './header.ts';
import { type StoredDType, storedDType } from './stored-dtypes.ts';

/** A tensor as the file stores it. */
export interface TensorInfo {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly byteLength: number;
}

/** Methods of both readers that touch no tensor data. */
export type SafetensorsDirectory = Pick<Directory, 'source' | 'metadata' | 'names' | 'info'>;

/** Reads a whole file held in memory. @throws LinnetError `FORMAT` if it is malformed */
export function parseSafetensors(bytes: Uint8Array, source = 'safetensors bytes'): SafetensorsBytes {
  const length = headerLength(bytes.subarray(0, LENGTH_FIELD_BYTES), bytes.length, source);
  const dataStart = LENGTH_FIELD_BYTES + length;
  const header = parseHeader(bytes.subarray(LENGTH_FIELD_BYTES, dataStart), bytes.length - dataStart, source);
  return new SafetensorsBytes(bytes.subarray(dataStart), header, source);
}

export type ToFloat32 = NonNullable<ReturnType<typeof storedDType>['toFloat32']>;

export class Directory {
  /** Its name in errors. */
  readonly source: string;
  /** The header's string map; empty if there is none. */
  readonly metadata: ReadonlyMap<string, string>;
  readonly #tensors: ReadonlyMap<string, StoredTensor>;

  constructor(header: SafetensorsHeader, source: string) {
    this.source = source;
    this.metadata = header.metadata;
    this.#tensors = header.tensors;
  }

  /** Tensor names, in header order. */
  names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** @throws LinnetError `NOT_FOUND` if there is no such tensor */
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

/** A file in memory. Tensors are copies, so they do not keep the bytes alive. Errors as in `SafetensorsFile`. */
export class SafetensorsBytes extends Directory {
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

  /**
   * Like `read`, but returns a view of the file's bytes if they are aligned, for callers that keep neither. F32 and I32 only.
   */
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
