/** Where a model's numbers come from when it is compiled or written, one parameter at a time. */
import { type AnyParameter, loadTensor } from '../checkpoint/stored-parameter.ts';
import { type CodedMatrix, onePiece } from '../checkpoint/weight-file.ts';
import { LinnetError } from '../errors.ts';
import {
  type DType,
  type DeferredTensor,
  type FilePlace,
  type Tensor,
  elementCount,
  formatShape,
  sameShape,
  tensorBytes,
  zeros,
} from '../graph/tensor.ts';
import {
  encodeMatrix,
  type EncodedMatrix,
  type Encoding,
  type MatrixEncoder,
  matrixEncoder,
  matrixShape,
  type MatrixShape,
  type WeightError,
  weightError,
} from './encoding.ts';
import type { EncodingThreads } from './encoding-threads.ts';

/** Reads parameters by name, in any order and as often as requested; keeps nothing. */
export interface WeightReader {
  /** A parameter in float32, in the model's shape. */
  read(name: string): Promise<Tensor<'float32'>>;
  /** The same in pieces, for parameters that need not be in memory at once. Absent: use `read`. */
  rows?(name: string): WeightRows;
  /** Where a parameter lies in a file, for engines that map files. Undefined, or absent: nowhere. */
  place?(name: string): FilePlace | undefined;
  /** Keeps the files open until the result is disposed of. Absent: there are none, or they stay open. */
  hold?(): AsyncDisposable;
  /** A matrix in its file's codes; undefined, or absent: it has none. */
  codes?(name: string): CodedMatrix | undefined;
  /**
   * A stored matrix's part in its stored form, such as "lm_head.weight.codes" int8 [4096,32000]: for weights that need no
   * encoding. Undefined, or absent: encodes the result of `read`.
   */
  part?(name: string, type: { readonly dtype: DType; readonly shape: readonly number[] }): Promise<Tensor> | undefined;
}

/** A parameter in float32, in pieces. */
export interface WeightRows {
  readonly shape: readonly number[];
  /** Whole rows, along the last axis, in order. A piece is valid until the next is requested. */
  readonly pieces: AsyncIterable<Float32Array>;
}

/** Parameters by name; reads those in files in pieces. @throws LinnetError `TENSOR` for a missing one */
export function readerOf(parameters: ReadonlyMap<string, AnyParameter>): Pick<WeightReader, 'read' | 'rows'> {
  const valueOf = (name: string): AnyParameter => {
    const value = parameters.get(name);
    if (value === undefined) throw new LinnetError('TENSOR', `parameter "${name}" is missing`);
    return value;
  };
  return {
    read: async (name) => loadTensor(valueOf(name)),
    rows(name) {
      const value = valueOf(name);
      return { shape: value.shape, pieces: 'rows' in value ? value.rows() : onePiece(() => loadTensor(value)) };
    },
  };
}

/** How to encode matrices. */
export interface EncodingProcess {
  /** Threads for matrices in files. Default: none, and the calling thread encodes. */
  readonly threads?: EncodingThreads;
  /** Called with every matrix's error when its numbers are made; twice for one that is made twice. */
  readonly onError?: (name: string, error: WeightError) => void;
}

/**
 * One part of stored matrices, joined along the output axis; `load` makes its numbers.
 * @param shapeOf the part's shape for a number of outputs
 */
export type PartOf = (
  matrices: readonly MatrixShape[],
  part: string,
  dtype: DType,
  shapeOf: (outputs: number) => readonly number[],
) => DeferredTensor;

/** Makes parts of matrices on request. Holds one product's encoded matrices at a time, in pieces by outputs. */
export function matrixParts(
  reader: WeightReader,
  encodingOf: (matrix: MatrixShape) => Encoding,
  { threads, onError }: EncodingProcess = {},
): PartOf {
  const held = new Map<string, Promise<readonly EncodedMatrix[]>>();
  let holder = '';
  const encodeHere = async (matrix: MatrixShape, encoder: MatrixEncoder): Promise<EncodedMatrix> => {
    const { name, layout } = matrix;
    const shape = matrixShape(matrix);
    return reader.rows !== undefined && (encoder.anyLayout || layout === 'outputs-first')
      ? await encodePieces(encoder, checked(reader.rows(name), name, shape))
      : encodeMatrix(encoder, { ...matrix, data: (await readChecked(reader, name, shape)).data });
  };
  const encode = async (matrix: MatrixShape): Promise<readonly EncodedMatrix[]> => {
    const place = matrix.layout === 'outputs-first' ? reader.place?.(matrix.name) : undefined;
    const encoding = encodingOf(matrix);
    const encoded =
      threads !== undefined && place !== undefined
        ? await threads.encode(matrix, encoding, place)
        : [await encodeHere(matrix, matrixEncoder(matrix, encoding))];
    const error = weightError(matrix.name, encoded);
    onError?.(matrix.name, error);
    return encoded;
  };
  return (matrices, part, dtype, shapeOf) => {
    const shape = shapeOf(matrices.reduce((sum, { outputs }) => sum + outputs, 0));
    const axis = shapeOf(1).findIndex((size, i) => size !== shapeOf(2)[i]);
    return {
      dtype,
      shape,
      load: async () => {
        const joined = joinedName(matrices);
        if (joined !== holder) held.clear();
        holder = joined;
        const made: Tensor[] = [];
        for (const matrix of matrices) {
          const type = { dtype, shape: shapeOf(matrix.outputs) };
          const stored = await reader.part?.(`${matrix.name}.${part}`, type);
          if (stored !== undefined) {
            made.push(stored);
            continue;
          }
          const pieces = held.get(matrix.name) ?? encode(matrix);
          held.set(matrix.name, pieces);
          for (const { parts } of await pieces) made.push(parts[part]);
        }
        const tensor = joinedTensor(made, axis);
        if (tensor.dtype === dtype && sameShape(tensor.shape, shape)) return tensor;
        const type = `${tensor.dtype}${formatShape(tensor.shape)}`;
        throw new LinnetError('TENSOR', `"${joined}.${part}" is ${type}, expected ${dtype}${formatShape(shape)}`);
      },
    };
  };
}

/** The name of matrices stored as one: "layers.0.mlp.gate_proj.weight+up_proj.weight". */
export function joinedName(matrices: readonly { readonly name: string }[]): string {
  return matrices.map(({ name }, i) => (i === 0 ? name : name.split('.').slice(-2).join('.'))).join('+');
}

function joinedTensor(tensors: readonly Tensor[], axis: number): Tensor {
  const [first] = tensors;
  if (tensors.length === 1) return first;
  const sum = tensors.reduce((sum, { shape }) => sum + shape[axis], 0);
  const joined = zeros(
    first.dtype,
    first.shape.map((size, i) => (i === axis ? sum : size)),
  );
  const target = tensorBytes(joined);
  const rows = elementCount(first.shape.slice(0, axis));
  let start = 0;
  for (const part of tensors) {
    const bytes = tensorBytes(part);
    const width = bytes.length / rows;
    for (let row = 0; row < rows; row++) {
      target.set(bytes.subarray(row * width, (row + 1) * width), start + (row * target.length) / rows);
    }
    start += width;
  }
  return joined;
}

async function encodePieces(encoder: MatrixEncoder, { pieces }: WeightRows): Promise<EncodedMatrix> {
  for await (const rows of pieces) encoder.add(rows);
  return encoder.finish();
}

/** @throws LinnetError `TENSOR` if the parameter has another shape */
export async function readChecked(
  reader: WeightReader,
  name: string,
  shape: readonly number[],
): Promise<Tensor<'float32'>> {
  return checked(await reader.read(name), name, shape);
}

function checked<T extends { readonly shape: readonly number[] }>(value: T, name: string, shape: readonly number[]): T {
  if (sameShape(value.shape, shape)) return value;
  throw new LinnetError(
    'TENSOR',
    `parameter "${name}" is ${formatShape(value.shape)}, the model needs ${formatShape(shape)}`,
  );
}
