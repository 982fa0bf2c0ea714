/** Where the numbers of a model come from when it is compiled or written, one parameter at a time. */
import { type AnyParameter, loadTensor } from '../checkpoint/stored-parameter.ts';
import type { CodedMatrix } from '../checkpoint/weight-file.ts';
import { LinnetError } from '../errors.ts';
import { formatShape, sameShape } from '../graph/shape.ts';
import {
  type DeferredTensor,
  type DType,
  elementCount,
  type FilePlace,
  type Tensor,
  tensorBytes,
  zeros,
} from '../graph/tensor.ts';
import {
  encodeMatrix,
  type EncodedMatrix,
  type MatrixEncoder,
  type MatrixShape,
  type WeightError,
} from './encoding.ts';

/** Gives out parameters by name, in any order and as often as asked; nothing is kept. */
export interface WeightReader {
  /** A parameter in float32, of the shape that the model has for it. */
  read(name: string): Promise<Tensor<'float32'>>;
  /** The same in pieces, for parameters that need not be in memory at once. Absent: `read` gives them. */
  rows?(name: string): WeightRows;
  /** Where a parameter lies in a file, for engines that map files. Undefined, or absent: nowhere. */
  place?(name: string): FilePlace | undefined;
  /** Keeps the files open until the result is disposed of. Absent: there are none, or they stay open. */
  hold?(): AsyncDisposable;
  /** A matrix in the codes of its file; undefined, or absent: it has none. */
  codes?(name: string): CodedMatrix | undefined;
  /**
   * A part of a stored matrix in its stored form, such as "lm_head.weight.codes" int8 [4096,32000]: for weights that need
   * not be encoded. Undefined, or absent, encodes the result of `read`.
   */
  part?(name: string, type: { readonly dtype: DType; readonly shape: readonly number[] }): Promise<Tensor> | undefined;
}

/** A parameter in float32, in pieces. */
export interface WeightRows {
  readonly shape: readonly number[];
  /** Whole rows, along the last axis, in order. A piece is valid until the next is asked for. */
  readonly pieces: AsyncIterable<Float32Array>;
}

/** Parameters by name; those in files are read in pieces. @throws LinnetError `TENSOR` for one that is missing */
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
      return { shape: value.shape, pieces: 'rows' in value ? value.rows() : wholeTensor(value) };
    },
  };
}

async function* wholeTensor(value: AnyParameter): AsyncGenerator<Float32Array> {
  yield (await loadTensor(value)).data;
}

/** Makes parts of matrices when they are asked for. The encoded matrices of one product at a time are held. */
export class MatrixStore {
  readonly #reader: WeightReader;
  readonly #encoderOf: (matrix: MatrixShape) => MatrixEncoder;
  readonly #onError: ((name: string, error: WeightError) => void) | undefined;
  readonly #held = new Map<string, Promise<EncodedMatrix>>();
  #holder = '';

  constructor(
    reader: WeightReader,
    encoderOf: (matrix: MatrixShape) => MatrixEncoder,
    onError?: (name: string, error: WeightError) => void,
  ) {
    this.#reader = reader;
    this.#encoderOf = encoderOf;
    this.#onError = onError;
  }

  /**
   * One part of stored matrices, joined along the axis of their outputs; its numbers are made by `load`.
   * @param shapeOf shape of the part for a number of outputs
   */
  part(
    matrices: readonly MatrixShape[],
    part: string,
    dtype: DType,
    shapeOf: (outputs: number) => readonly number[],
  ): DeferredTensor {
    return {
      dtype,
      shape: shapeOf(matrices.reduce((sum, { outputs }) => sum + outputs, 0)),
      load: async () => {
        const holder = joinedName(matrices);
        if (holder !== this.#holder) this.#held.clear();
        this.#holder = holder;
        const made: Tensor[] = [];
        for (const matrix of matrices) made.push(await this.#part(matrix, part, dtype, shapeOf(matrix.outputs)));
        return joinedTensor(
          made,
          shapeOf(1).findIndex((size, i) => size !== shapeOf(2)[i]),
        );
      },
    };
  }

  async #part(matrix: MatrixShape, part: string, dtype: DType, shape: readonly number[]): Promise<Tensor> {
    const given = await this.#reader.part?.(`${matrix.name}.${part}`, { dtype, shape });
    const made = given ?? (await this.#encoded(matrix)).parts[part];
    if (made?.dtype === dtype && sameShape(made.shape, shape)) return made;
    throw new LinnetError(
      'TENSOR',
      `part "${part}" of "${matrix.name}" is ${made === undefined ? 'missing' : made.dtype + formatShape(made.shape)}, ` +
        `expected ${dtype}${formatShape(shape)}`,
    );
  }

  #encoded(matrix: MatrixShape): Promise<EncodedMatrix> {
    const held = this.#held.get(matrix.name) ?? this.#make(matrix);
    this.#held.set(matrix.name, held);
    return held;
  }

  async #make(matrix: MatrixShape): Promise<EncodedMatrix> {
    const { name, inputs, outputs, layout } = matrix;
    const shape = layout === 'outputs-first' ? [outputs, inputs] : [inputs, outputs];
    const encoder = this.#encoderOf(matrix);
    const encoded =
      this.#reader.rows !== undefined && (encoder.anyLayout || layout === 'outputs-first')
        ? await encodePieces(encoder, checked(this.#reader.rows(name), name, shape))
        : encodeMatrix(encoder, { ...matrix, data: (await readChecked(this.#reader, name, shape)).data });
    this.#onError?.(name, encoded.error);
    return encoded;
  }
}

/** The name of matrices that are stored as one: "layers.0.mlp.gate_proj.weight+up_proj.weight". */
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
