/**
 * Tensors on the host: constants, weights, inputs and results. In files, ONNX models and messages between threads, elements
 * are little-endian, the byte order of every machine the engine is built for.
 */
import { LinnetError } from '../errors.ts';

/** Element types, named as ONNX Runtime names them. float16 elements are raw bits in a Uint16Array. */
export type DType = 'float32' | 'float64' | 'float16' | 'int64' | 'int32' | 'int8' | 'uint8' | 'bool';

/** Storage of each element type. `bool` is one byte per element. */
export interface DTypeArrays {
  float32: Float32Array;
  float64: Float64Array;
  float16: Uint16Array;
  int64: BigInt64Array;
  int32: Int32Array;
  int8: Int8Array;
  uint8: Uint8Array;
  bool: Uint8Array;
}

/** Element types in files: tensors' types, and bfloat16, which only engines read. */
export type FileDType = DType | 'bfloat16';

export const bytesPerElement: Readonly<Record<FileDType, number>> = {
  float32: 4,
  float64: 8,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int8: 1,
  uint8: 1,
  bool: 1,
};

type ArrayConstructors = {
  readonly [D in DType]: {
    new (length: number): DTypeArrays[D];
    new (buffer: ArrayBufferLike, offset: number, length: number): DTypeArrays[D];
  };
};

const arrays: ArrayConstructors = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

/** Whether a name is an element type. */
export function isDType(name: string): name is DType {
  return Object.hasOwn(arrays, name);
}

/** A dense row-major tensor. `data.length` is the product of `shape` (1 for a scalar, whose shape is []). */
export interface Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: DTypeArrays[D];
}

/** A tensor whose elements are made when needed: a weight too large to hold along with all others. */
export interface DeferredTensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  /** Makes the elements, of this type and shape, anew at each call. */
  load(): Promise<Tensor<D>>;
  /** Where the elements lie in a file, for engines that map files into memory. Absent: in none. */
  readonly place?: FilePlace;
  /** A pass that makes the elements piece by piece, along with other tensors. Absent: only `load` makes them. */
  readonly pass?: { readonly by: TensorPass; readonly part: string };
}

/** Makes several tensors at once. */
export interface TensorPass {
  /** The next elements of every part, from first to last. A piece stays valid until the next but one is requested. */
  pieces(): AsyncIterable<Readonly<Record<string, Uint8Array | Float32Array | Int32Array | undefined>>>;
}

/** Elements in a file, contiguous and aligned; an engine converts them if their type differs. */
export interface FilePlace {
  readonly folder: string;
  readonly file: string;
  readonly offset: number;
  readonly dtype: FileDType;
  /** @throws LinnetError `MISMATCH` if the file is no longer the one in which the place was found */
  readonly unchanged: () => Promise<void>;
}

/** A model's weights by name. */
export type Weights = ReadonlyMap<string, Tensor<'float32'>>;

/** Weights while more are added. */
export type WeightMap = Map<string, Tensor<'float32'>>;

/** A tensor of any element type, discriminated by `dtype`. */
export type AnyTensor = { [D in DType]: Tensor<D> }[DType];

/** The same tensor, typed so that a test of `dtype` narrows `data`. Sound: every Tensor is one of the union's members. */
export function discriminated(value: Tensor): AnyTensor {
  return value as AnyTensor;
}

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (const dim of shape) count *= dim;
  return count;
}

/** The type of a tensor here or in a file. */
export interface TensorType {
  readonly dtype: FileDType;
  readonly shape: readonly number[];
}

export function byteLengthOf({ dtype, shape }: TensorType): number {
  return elementCount(shape) * bytesPerElement[dtype];
}

/** Wraps `data` (not copied) as a tensor. @throws LinnetError `SHAPE` if the length of `data` is not the product of `shape`. */
export function tensor<D extends DType>(dtype: D, shape: readonly number[], data: DTypeArrays[D]): Tensor<D> {
  const count = elementCount(shape);
  if (data.length !== count) {
    throw new LinnetError(
      'SHAPE',
      `a ${dtype} tensor [${shape.join(',')}] has ${count} elements, the data has ${data.length}`,
    );
  }
  return { dtype, shape: [...shape], data };
}

/** A zero-filled tensor. */
export function zeros<D extends DType>(dtype: D, shape: readonly number[]): Tensor<D> {
  return { dtype, shape: [...shape], data: allocate(dtype, elementCount(shape)) };
}

/** A zero-filled array of `length` elements of a dtype. */
export function allocate<D extends DType>(dtype: D, length: number): DTypeArrays[D] {
  return new arrays[dtype](length);
}

/** A float32 tensor from numbers. */
export function float32(shape: readonly number[], values: ArrayLike<number>): Tensor<'float32'> {
  return tensor('float32', shape, Float32Array.from(values));
}

/** An int32 tensor from numbers. */
export function int32(shape: readonly number[], values: ArrayLike<number>): Tensor<'int32'> {
  return tensor('int32', shape, Int32Array.from(values));
}

/** An int64 tensor from numbers. */
export function int64(shape: readonly number[], values: readonly number[]): Tensor<'int64'> {
  return tensor('int64', shape, BigInt64Array.from(values.map(BigInt)));
}

/**
 * The data of a tensor that must have this dtype.
 * @param count of elements it must have, for tensors that programs supply
 * @throws LinnetError `SHAPE` naming both dtypes, or shape and count
 */
export function dataOf<D extends DType>(value: Tensor, dtype: D, count?: number): DTypeArrays[D] {
  if (!hasDType(value, dtype)) throw new LinnetError('SHAPE', `expected a ${dtype} tensor, got ${value.dtype}`);
  if (count === undefined || value.data.length === count) return value.data;
  throw new LinnetError('SHAPE', `expected ${count} numbers, got ${value.data.length}: [${value.shape.join(',')}]`);
}

function hasDType<D extends DType>(value: Tensor, dtype: D): value is Tensor<D> {
  return value.dtype === dtype;
}

/** The bytes of a tensor's elements: a view, not a copy. */
export function tensorBytes(tensor: Tensor): Uint8Array {
  return new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
}

/**
 * A tensor over existing bytes: a view if they are aligned to the element size, else a copy.
 *
 * @throws LinnetError `SHAPE` if the number of bytes does not match the shape.
 */
export function tensorFromBytes<D extends DType>(
  dtype: D,
  shape: readonly number[],
  bytes: ArrayBufferView,
): Tensor<D> {
  const length = elementCount(shape);
  const width = bytesPerElement[dtype];
  if (bytes.byteLength !== length * width) {
    throw new LinnetError(
      'SHAPE',
      `a ${dtype} tensor [${shape.join(',')}] has ${length * width} bytes, the data has ${bytes.byteLength}`,
    );
  }
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { buffer, byteOffset } = view.byteOffset % width === 0 ? view : view.slice();
  return { dtype, shape: [...shape], data: new arrays[dtype](buffer, byteOffset, length) };
}

// Shapes with static and named dimensions. A named dimension ("T") is known only when a graph runs; named dimensions are
// equal if their names are. Sums and products of named dimensions are names as well ("R+T"), written canonically so that
// equal expressions compare equal.

/** A dimension: a size or a name. */
export type Dim = number | string;
/** A graph tensor's dimensions: numbers, and names for open ones. */
export type Shape = readonly Dim[];

/** "[2,T,64]". */
export function formatShape(shape: Shape): string {
  return `[${shape.join(',')}]`;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

/** The shape if every dimension is a number, else undefined. */
export function staticShape(shape: Shape): number[] | undefined {
  const sizes: number[] = [];
  for (const dim of shape) {
    if (typeof dim !== 'number') return undefined;
    sizes.push(dim);
  }
  return sizes;
}

/** The sum of dimensions; a name such as "R+T" if one is named. */
export function addDims(...dims: Dim[]): Dim {
  return combineDims(dims, '+', 0, (a, b) => a + b);
}

/** A dimension minus `count`; undefined if that may be negative. */
export function dimWithout(dim: Dim, count: number): Dim | undefined {
  const terms = typeof dim === 'number' ? [String(dim)] : splitTerms(dim, '+');
  const names = terms.filter((term) => !/^\d+$/.test(term));
  const size = addDims(...terms.filter((term) => /^\d+$/.test(term)).map(Number));
  return typeof size === 'number' && size >= count ? addDims(...names, size - count) : undefined;
}

/** The product of dimensions; a name such as "B*T" if one is named. */
export function multiplyDims(...dims: Dim[]): Dim {
  return combineDims(dims, '*', 1, (a, b) => a * b);
}

function combineDims(dims: Dim[], sign: '+' | '*', neutral: number, combine: (a: number, b: number) => number): Dim {
  let size = neutral;
  const names: string[] = [];
  for (const dim of dims) {
    for (const term of typeof dim === 'number' ? [String(dim)] : splitTerms(dim, sign)) {
      if (/^\d+$/.test(term)) size = combine(size, Number(term));
      else names.push(sign === '*' && splitTerms(term, '+').length > 1 ? `(${term})` : term);
    }
  }
  if (names.length === 0) return size;
  if (sign === '*' && size === 0) return 0;
  names.sort();
  if (size === neutral && names.length === 1) return names[0].replace(/^\((.*)\)$/, '$1');
  return size === neutral ? names.join(sign) : [...names, size].join(sign);
}

/** Splits an expression at a sign, but not inside parentheses. */
export function splitTerms(expression: string, sign: '+' | '*'): string[] {
  const terms: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= expression.length; i++) {
    const character = expression[i];
    if (character === '(') depth++;
    else if (character === ')') depth--;
    else if (depth === 0 && (i === expression.length || character === sign)) {
      terms.push(expression.slice(start, i));
      start = i + 1;
    }
  }
  return terms;
}

/** The shape two operands broadcast to (NumPy rules). @throws LinnetError `SHAPE` naming the op and both shapes. */
export function broadcastShapes(op: string, a: Shape, b: Shape): Dim[] {
  const rank = Math.max(a.length, b.length);
  const result: Dim[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const left = a[axis - rank + a.length] ?? 1;
    const right = b[axis - rank + b.length] ?? 1;
    if (left === right || right === 1) result.push(left);
    else if (left === 1) result.push(right);
    else
      throw shapeError(op, `shapes ${formatShape(a)} and ${formatShape(b)} do not broadcast: ${left} against ${right}`);
  }
  return result;
}

/** An axis counted from the front; negative axes count from the back. */
export function normalizeAxis(op: string, axis: number, rank: number): number {
  const resolved = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || resolved < 0 || resolved >= rank) {
    throw shapeError(op, `axis ${axis} is outside a value of rank ${rank}`);
  }
  return resolved;
}

export function shapeError(op: string, message: string): LinnetError {
  return new LinnetError('SHAPE', `${op}: ${message}`);
}
