/** Matrices in their file's codes: products and look-ups take the codes unchanged; matrices without codes are float32. */
import type { CodedMatrix, CodedParts, CodeForm } from '../checkpoint/weight-file.ts';
import { internalError, LinnetError } from '../errors.ts';
import type { Value } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { add, cast, mul, sub } from '../graph/ops/elementwise.ts';
import { gather } from '../graph/ops/indexing.ts';
import { reshape } from '../graph/ops/layout.ts';
import { blockGather, blockMatmul } from '../graph/ops/quantized.ts';
import { mean } from '../graph/ops/reduce.ts';
import { type DeferredTensor, type DType, tensor, type TensorPass } from '../graph/tensor.ts';
import type { WeightMatrix } from '../nn/parameters.ts';
import { joinedName, matrixParts, type WeightReader } from './weight-reader.ts';

/** Makes a graph value for a weight, at the first request for its name. */
export type MakeWeight = (name: string, tensor: DeferredTensor) => Value;

/** Products and look-ups of stored matrices. */
export interface StoredProducts {
  /** Products with matrices side by side; undefined if they are not stored as one. */
  multiply(x: Value, matrices: readonly WeightMatrix[]): Value | undefined;
  /** Rows of a table, a matrix whose outputs they are; undefined if they are stored as parameters. */
  lookUp(tokens: Value, table: WeightMatrix): Value | undefined;
}

/** For matrices with codes in the reader, all of one form and order; not for tables with zero points. */
export function codedProducts(weight: MakeWeight, reader: WeightReader): StoredProducts {
  const store = matrixParts({ read: (name) => reader.read(name), part: partsOf(reader) }, ({ name }) => {
    throw internalError(`${name} has no codes`);
  });
  const passes = new Map<string, TensorPass>();
  const formOf = (matrices: readonly WeightMatrix[]): CodeForm | undefined => {
    const coded = matrices.map(({ name, inputs, outputs }) => {
      const matrix = reader.codes?.(name);
      return matrix?.inputs === inputs && matrix.outputs === outputs ? matrix.form : undefined;
    });
    const [first] = coded;
    return coded.every((form) => JSON.stringify(form) === JSON.stringify(first)) ? first : undefined;
  };
  /** Weights for parts of stacked matrices, made in one pass. @param shape per output */
  const weightsOf = (matrices: readonly WeightMatrix[]) => {
    const name = joinedName(matrices);
    const by = passes.get(name) ?? {
      async *pieces() {
        for (const matrix of matrices) yield* reader.codes?.(matrix.name)?.pieces() ?? [];
      },
    };
    passes.set(name, by);
    return (part: string, dtype: DType, shape: readonly number[]): Value => {
      const all = store(matrices, part, dtype, (outputs) => [outputs, ...shape]);
      return weight(`${name}.${part}`, { ...all, pass: { by, part } });
    };
  };
  return {
    multiply(x, matrices) {
      const form = formOf(matrices);
      if (form === undefined || (form.ordered === true && matrices.length > 1)) return undefined;
      const { bits, size, minima, ordered = false } = form;
      const [{ name, inputs }] = matrices;
      const blocks = inputs / size;
      const part = weightsOf(matrices);
      const zeros =
        minima || form.zeros === true ? part('zeros', 'uint8', [Math.ceil((blocks * bits) / 8)]) : undefined;
      // The model's input for each input of the codes.
      const order = (): Value =>
        weight(
          `${name}.order`,
          store([matrices[0]], 'order', 'int32', () => [inputs]),
        );
      const read = ordered ? gather(x, order(), x.rank - 1) : x;
      const codes = part('codes', 'uint8', [blocks, (size * bits) / 8]);
      const product = blockMatmul(read, codes, part('scales', 'float32', [blocks]), { bits, zeros });
      if (!minima) return product;
      // The graph merges equal nodes: products with one x share its sums.
      const sums = mean(reshape(read, [...read.shape.slice(0, -1), blocks, size]), [read.rank]); // [...,blocks]
      return add(product, matmul(sums, part('rest', 'float32', [blocks]), { transposeB: true }));
    },
    lookUp(tokens, table) {
      const form = formOf([table]);
      if (form === undefined || form.zeros === true || form.ordered === true) return undefined;
      const { bits, size, minima } = form;
      const blocks = table.inputs / size;
      const part = weightsOf([table]);
      const codes = part('codes', 'uint8', [blocks, (size * bits) / 8]);
      const scales = part('scales', 'float32', [blocks]);
      const ofBlocks = (values: Value): Value => reshape(gather(values, tokens), [...tokens.shape, blocks, 1]);
      const scale = ofBlocks(scales); // [...,blocks,1]
      const middle = 2 ** (bits - 1);
      const centred =
        bits === 4
          ? blockGather(codes, scales, tokens)
          : mul(sub(cast(gather(codes, tokens), 'float32'), middle), scale); // [...,blocks,size]
      const found = minima
        ? add(centred, sub(mul(scale, middle), ofBlocks(part('minima', 'float32', [blocks]))))
        : centred;
      return reshape(found, [...tokens.shape, table.inputs]);
    },
  };
}

/** All parts of a matrix. */
async function whole(matrix: CodedMatrix): Promise<CodedParts> {
  for await (const piece of matrix.pieces(matrix.outputs)) return piece;
  throw internalError('a matrix in codes has no rows');
}

/** Most matrices in one product: its parts are requested one after the other. */
const mostHeld = 4;

/** Serves parts of coded matrices, keeping the most recent matrices. */
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
