/** Matrices in the codes of their file: products and look-ups take them as they are, and what has no codes is float32. */
import type { CodedMatrix, CodedParts, CodeForm } from '../checkpoint/weight-file.ts';
import { internalError, LinnetError } from '../errors.ts';
import type { Value } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { add, cast, mul, sub } from '../graph/ops/elementwise.ts';
import { gather } from '../graph/ops/indexing.ts';
import { reshape } from '../graph/ops/layout.ts';
import { blockGather, blockMatmul } from '../graph/ops/quantized.ts';
import { mean } from '../graph/ops/reduce.ts';
import { type DType, tensor, type TensorPass } from '../graph/tensor.ts';
import type { WeightMatrix, WeightTable } from '../nn/parameters.ts';
import { joinedName, MatrixStore, type WeightReader } from './weight-reader.ts';

/** A value for a weight of the graph. */
type MakeWeight = (name: string, part: ReturnType<MatrixStore['part']>) => Value;

/** Products and look-ups of the matrices that a reader has in codes. */
export class CodedMatrices {
  readonly #codesOf: (name: string) => CodedMatrix | undefined;
  readonly #store: MatrixStore;
  readonly #weight: MakeWeight;
  readonly #passes = new Map<string, TensorPass>();

  constructor(reader: WeightReader, weight: MakeWeight) {
    this.#codesOf = (name) => reader.codes?.(name);
    this.#weight = weight;
    this.#store = new MatrixStore({ read: (name) => reader.read(name), part: partsOf(reader) }, (matrix) => {
      throw internalError(`${matrix.name} has no codes`);
    });
  }

  /** Undefined for matrices without codes, or in codes of several forms, or orders. */
  multiply(x: Value, matrices: readonly WeightMatrix[]): Value | undefined {
    const form = this.#formOf(matrices);
    if (form === undefined || (form.ordered === true && matrices.length > 1)) return undefined;
    const { bits, size, minima, ordered = false } = form;
    const { inputs } = matrices[0];
    const blocks = inputs / size;
    const part = this.#parts(matrices);
    const zeros = minima || form.zeros === true ? part('zeros', 'uint8', [Math.ceil((blocks * bits) / 8)]) : undefined;
    if (ordered) x = gather(x, this.#order(matrices[0]), x.rank - 1);
    const product = blockMatmul(
      x,
      part('codes', 'uint8', [blocks, (size * bits) / 8]),
      part('scales', 'float32', [blocks]),
      {
        bits,
        zeros,
      },
    );
    if (!minima) return product;
    // The graph merges equal nodes: products of one x share its sums.
    const sums = mean(reshape(x, [...x.shape.slice(0, -1), blocks, size]), [x.rank]); // [...,blocks]
    return add(product, matmul(sums, part('rest', 'float32', [blocks]), { transposeB: true }));
  }

  /** Undefined for a table without codes, or with zero points. */
  lookUp(tokens: Value, { name, rows, width }: WeightTable): Value | undefined {
    const matrix: WeightMatrix = { name, inputs: width, outputs: rows, layout: 'outputs-first' };
    const form = this.#formOf([matrix]);
    if (form === undefined || form.zeros === true || form.ordered === true) return undefined;
    const { bits, size, minima } = form;
    const blocks = width / size;
    const part = this.#parts([matrix]);
    const codes = part('codes', 'uint8', [blocks, (size * bits) / 8]);
    const scales = part('scales', 'float32', [blocks]);
    const scale = reshape(gather(scales, tokens), [...tokens.shape, blocks, 1]); // [...,blocks,1]
    const middle = 2 ** (bits - 1);
    const centred =
      bits === 4 ? blockGather(codes, scales, tokens) : mul(sub(cast(gather(codes, tokens), 'float32'), middle), scale); // [...,blocks,size]
    const least = (): Value =>
      reshape(gather(part('minima', 'float32', [blocks]), tokens), [...tokens.shape, blocks, 1]);
    const found = minima ? add(centred, sub(mul(scale, middle), least())) : centred;
    return reshape(found, [...tokens.shape, width]);
  }

  #formOf(matrices: readonly WeightMatrix[]): CodeForm | undefined {
    const coded = matrices.map(({ name, inputs, outputs }) => {
      const matrix = this.#codesOf(name);
      return matrix?.inputs === inputs && matrix.outputs === outputs ? matrix.form : undefined;
    });
    const [first] = coded;
    return coded.every((form) => JSON.stringify(form) === JSON.stringify(first)) ? first : undefined;
  }

  /** The model's input that each input of the codes is. */
  #order(matrix: WeightMatrix): Value {
    return this.#weight(
      `${matrix.name}.order`,
      this.#store.part([matrix], 'order', 'int32', () => [matrix.inputs]),
    );
  }

  /** Weights of parts of matrices side by side. @param shape of an output */
  #parts(matrices: readonly WeightMatrix[]) {
    const by = this.#passOver(matrices);
    return (part: string, dtype: DType, shape: readonly number[]): Value => {
      const all = this.#store.part(matrices, part, dtype, (outputs) => [outputs, ...shape]);
      return this.#weight(`${joinedName(matrices)}.${part}`, { ...all, pass: { by, part } });
    };
  }

  /** Makes all parts of matrices, one below the other. */
  #passOver(matrices: readonly WeightMatrix[]): TensorPass {
    const name = joinedName(matrices);
    const codesOf = this.#codesOf;
    const pass = this.#passes.get(name) ?? {
      async *pieces() {
        for (const matrix of matrices) yield* codesOf(matrix.name)?.pieces() ?? [];
      },
    };
    this.#passes.set(name, pass);
    return pass;
  }
}

/** All parts of a matrix. */
async function whole(matrix: CodedMatrix): Promise<CodedParts> {
  for await (const piece of matrix.pieces(matrix.outputs)) return piece;
  throw internalError('a matrix in codes has no rows');
}

/** Matrices of one product at most: its parts are asked for one after the other. */
const mostHeld = 4;

/** Gives out parts of coded matrices; the last matrices are held. */
function partsOf(reader: WeightReader): NonNullable<WeightReader['part']> {
  const held = new Map<string, Promise<CodedParts>>();
  return async (name, { dtype, shape }) => {
    const dot = name.lastIndexOf('.');
    const [matrix, part] = [name.slice(0, dot), name.slice(dot + 1)];
    const coded = reader.codes?.(matrix);
    if (coded === undefined) throw new LinnetError('TENSOR', `${matrix} has no codes`);
    const parts = held.get(matrix) ?? whole(coded);
    held.set(matrix, parts);
    if (held.size > mostHeld) held.delete([...held.keys()][0]);
    const data: Readonly<Record<string, Uint8Array | Float32Array | Int32Array | undefined>> = { ...(await parts) };
    const found = data[part];
    if (found === undefined) throw new LinnetError('TENSOR', `${matrix} has no part "${part}"`);
    if (found instanceof Uint8Array && dtype === 'uint8') return tensor('uint8', shape, found);
    if (found instanceof Float32Array && dtype === 'float32') return tensor('float32', shape, found);
    if (found instanceof Int32Array && dtype === 'int32') return tensor('int32', shape, found);
    throw new LinnetError('TENSOR', `part "${part}" of ${matrix} is no ${dtype}`);
  };
}
