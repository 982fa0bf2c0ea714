/**
 * Tensors as bytes, without copies, as in files, ONNX models and messages between threads. Elements are
 * little-endian, which is also the byte order of every machine that the engine has a build for.
 */
import { internalError, LinnetError } from '../errors.ts';
import { bytesPerElement, type DType, type DTypeArrays, elementCount, type Tensor } from './tensor.ts';

/** The bytes of a tensor's elements: a view, not a copy. */
export function tensorBytes(tensor: Tensor): Uint8Array {
  return new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
}

type Wrappers = {
  readonly [D in DType]: (buffer: ArrayBufferLike, offset: number, length: number) => DTypeArrays[D];
};

const wrappers: Wrappers = {
  float32: (buffer, offset, length) => new Float32Array(buffer, offset, length),
  float64: (buffer, offset, length) => new Float64Array(buffer, offset, length),
  float16: (buffer, offset, length) => new Uint16Array(buffer, offset, length),
  int64: (buffer, offset, length) => new BigInt64Array(buffer, offset, length),
  int32: (buffer, offset, length) => new Int32Array(buffer, offset, length),
  int8: (buffer, offset, length) => new Int8Array(buffer, offset, length),
  uint8: (buffer, offset, length) => new Uint8Array(buffer, offset, length),
  bool: (buffer, offset, length) => new Uint8Array(buffer, offset, length),
};

/** Whether a name is an element type. */
export function isDType(name: string): name is DType {
  return Object.hasOwn(wrappers, name);
}

/**
 * A tensor over bytes that exist already: a view where the bytes are aligned to the element size, else a copy.
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
  const wrap = wrappers[dtype];
  if (wrap === undefined) throw internalError(`no element type "${dtype}"`);
  if (bytes.byteOffset % width === 0) {
    return { dtype, shape: [...shape], data: wrap(bytes.buffer, bytes.byteOffset, length) };
  }
  const aligned = new Uint8Array(bytes.byteLength);
  aligned.set(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  return { dtype, shape: [...shape], data: wrap(aligned.buffer, 0, length) };
}
