/**
 * Element types as safetensors files name them: their size and, for those we support, how to convert bytes to tensors and
 * back. To support another stored type, fill in its row of the table.
 *
 * Files are little-endian, as is every machine ONNX Runtime supports: elements are reinterpreted, not swapped.
 */
import { LinnetError } from '../../errors.ts';
import {
  allocate,
  type AnyTensor,
  bytesPerElement,
  discriminated,
  type DType,
  type DTypeArrays,
  type FileDType,
  tensor,
  tensorFromBytes,
} from '../../graph/tensor.ts';
import {
  bfloat16FromFloat32,
  float16FromFloat32,
  float32FromBfloat16,
  float32FromFloat16,
} from './float-conversion.ts';

/** An element array of any host dtype. */
export type TensorData = DTypeArrays[DType];

interface StoredDTypeRow {
  /** Bits per element; the sub-byte formats pack several into a byte. */
  readonly bits: number;
  /** The engine's name for a type that it reads from files. */
  readonly file?: FileDType;
  /** Wraps exactly one tensor's bytes. Absent if no host dtype matches. */
  readonly decode?: (bytes: ArrayBuffer, shape: readonly number[]) => AnyTensor;
  /**
   * Converts elements whose bytes begin at a multiple of the element size in their buffer. Writes to `room`, one number per
   * element (default: fresh); float32 is not copied. Absent for dtypes that are not floating point.
   */
  readonly toFloat32?: (bytes: Uint8Array<ArrayBuffer>, room?: Float32Array) => Float32Array;
  /** The bytes of `data`'s elements, or undefined if such an array cannot be stored as this type. */
  readonly encode?: (data: TensorData) => Uint8Array | undefined;
}

/** A stored type equal to a host dtype. */
function same(dtype: DType): StoredDTypeRow {
  const { constructor } = allocate(dtype, 0);
  return {
    bits: 8 * bytesPerElement[dtype],
    file: dtype,
    decode: (bytes, shape) => discriminated(tensorFromBytes(dtype, shape, new Uint8Array(bytes))),
    encode: (data) => (data instanceof constructor ? bytesOf(data) : undefined),
  };
}

const table = {
  F64: {
    ...same('float64'),
    toFloat32: (bytes, room) => {
      const values = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
      if (room === undefined) return Float32Array.from(values);
      room.set(values);
      return room;
    },
  },
  F32: {
    ...same('float32'),
    toFloat32: (bytes) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4),
  },
  F16: {
    ...same('float16'),
    toFloat32: (bytes, room) => float32FromFloat16(words16(bytes), room),
    encode: (data) => encode16(data, float16FromFloat32),
  },
  BF16: {
    bits: 16,
    file: 'bfloat16',
    toFloat32: (bytes, room) => float32FromBfloat16(words16(bytes), room),
    encode: (data) => encode16(data, bfloat16FromFloat32),
  },
  I64: same('int64'),
  I32: same('int32'),
  I8: same('int8'),
  U8: same('uint8'),
  BOOL: {
    bits: 8,
    decode: (bytes, shape) => tensor('bool', shape, booleans(new Uint8Array(bytes))),
    encode: (data) => (data instanceof Uint8Array ? bytesOf(booleans(data)) : undefined),
  },
  I16: { bits: 16 },
  U16: { bits: 16 },
  U32: { bits: 32 },
  U64: { bits: 64 },
  C64: { bits: 64 },
  F8_E4M3: { bits: 8 },
  F8_E5M2: { bits: 8 },
  F8_E8M0: { bits: 8 },
  F8_E4M3FNUZ: { bits: 8 },
  F8_E5M2FNUZ: { bits: 8 },
  F6_E2M3: { bits: 6 },
  F6_E3M2: { bits: 6 },
  F4: { bits: 4 },
} satisfies Record<string, StoredDTypeRow>;

/** An element type's name in a safetensors header. */
export type StoredDType = keyof typeof table;

/** The table as a map: safe to query with any string from a file. */
const rows: ReadonlyMap<string, StoredDTypeRow> = new Map<string, StoredDTypeRow>(Object.entries(table));

/** A numeric type's row by the engine's name. */
export function rowOfFile(dtype: FileDType): StoredDTypeRow | undefined {
  return [...rows.values()].find(({ file }) => file === dtype);
}

/** Whether a string names one of the format's element types. */
export function isStoredDType(name: string): name is StoredDType {
  return rows.has(name);
}

/** Size of one element in bits. */
export function bitsOf(dtype: StoredDType): number {
  return table[dtype].bits;
}

/** How bytes of a stored type become a tensor, and float32; undefined fields mean the type cannot. */
export function storedDType(dtype: StoredDType): StoredDTypeRow {
  return table[dtype];
}

/** All type names in the format. */
export function storedDTypeNames(): StoredDType[] {
  return [...rows.keys()].filter(isStoredDType);
}

function bytesOf(data: TensorData): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function words16(bytes: Uint8Array<ArrayBuffer>): Uint16Array {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
}

/** 16-bit floats come as bit patterns or are rounded from float32. */
function encode16(data: TensorData, round: (values: Float32Array) => Uint16Array): Uint8Array | undefined {
  if (data instanceof Uint16Array) return bytesOf(data);
  return data instanceof Float32Array ? bytesOf(round(data)) : undefined;
}

/** Engines may treat a boolean byte other than 0 and 1 as anything, so both directions refuse it. */
function booleans(bytes: Uint8Array): Uint8Array {
  const odd = bytes.findIndex((byte) => byte > 1);
  if (odd >= 0) throw new LinnetError('FORMAT', `a boolean must be 0 or 1, element ${odd} is ${bytes[odd]}`);
  return bytes;
}
