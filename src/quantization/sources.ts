/**
 * A model's parameters as stored: float32, or matrices and tables in fewer bits. Only matrices that multiply activations and
 * tables of rows shrink; the others (norms, biases, taps, factors, feature maps) are float32 in every type.
 */
import { internalError, LinnetError } from '../errors.ts';
import type { Graph, Value } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { cast, mul } from '../graph/ops/elementwise.ts';
import { type Tensor, formatShape, sameShape } from '../graph/tensor.ts';
import { gather } from '../graph/ops/indexing.ts';
import { reshape, slice, transpose } from '../graph/ops/layout.ts';
import {
  blockGather,
  blockMatmul,
  type BlockSize,
  blockSizes,
  blocksPerRow,
  integerMatmul,
  quantizeRows,
} from '../graph/ops/quantized.ts';
import { parameterCount, type ParameterShapes, type ParameterSource, type WeightMatrix } from '../nn/parameters.ts';
import { codedProducts, type MakeWeight, type StoredProducts } from './coded-parameters.ts';
import { matrixShape, type MatrixShape } from './encoding.ts';
import {
  type EncodingProcess,
  joinedName,
  matrixParts,
  type PartOf,
  readChecked,
  type WeightReader,
} from './weight-reader.ts';

/** Matrix storage types. */
export const weightTypes = ['f32', 'f16', 'w8a8', 'int4'] as const;
export type WeightType = (typeof weightTypes)[number];

/** Matrix forms in memory: also `stored`, the file's own codes. */
export type MemoryType = WeightType | 'stored';

/** From this many parameters on, models get larger blocks: the runtime adds eight bytes to each. */
const leastLarge = 3e9;

/** Default weights per int4 scale: 32, and 64 from three billion parameters on. */
export function blockForSize(parameters: ParameterShapes): BlockSize {
  return parameterCount(parameters) < leastLarge ? 32 : 64;
}

export interface StoredSourceOptions extends EncodingProcess {
  /** Tables that also multiply activations, such as a tied head's embedding: they are stored once. */
  readonly sharedTables?: ReadonlySet<string>;
  /** Whether activations are multiplied in half precision, which f16 is for. Default false: weights become float32. */
  readonly halfProducts?: boolean;
  /** Weights per int4 scale; fewer in rows that fit one smaller block. Default: 32. */
  readonly block?: BlockSize;
}

/** A source of stored parameters; reads their numbers when the graph is compiled or written. */
export function storedParameters(
  type: MemoryType,
  graph: Graph,
  reader: WeightReader,
  options: StoredSourceOptions = {},
): ParameterSource {
  const values = new Map<string, Value>();
  const weight: MakeWeight = (name, tensor) => {
    const known = values.get(name);
    if (known === undefined) {
      const made = graph.weight(name, tensor);
      values.set(name, made);
      return made;
    }
    if (known.dtype === tensor.dtype && sameShape(known.shape, tensor.shape)) return known;
    throw new LinnetError('TENSOR', `parameter "${name}" is ${known}, the model needs ${formatShape(tensor.shape)}`);
  };
  const products = forms[type]?.(weight, reader, options);
  return {
    graph,
    parameter(name, shape) {
      const load = (): Promise<Tensor<'float32'>> => readChecked(reader, name, shape);
      return weight(name, { dtype: 'float32', shape, load, place: reader.place?.(name) });
    },
    multiply: (x, matrix) => products?.multiply(x, [matrix]),
    multiplyJoined: (x, matrices) => products?.multiply(x, matrices),
    lookUp: (tokens, { name, rows, width }) =>
      products?.lookUp(tokens, { name, inputs: width, outputs: rows, layout: 'outputs-first' }),
  };
}

/** Names of the tables that a model both looks rows up in and multiplies by. */
export function sharedTables(build: (makeSource: (graph: Graph) => ParameterSource) => Graph): Set<string> {
  const looked = new Set<string>();
  const multiplied = new Set<string>();
  build((graph) => {
    const source = storedParameters('f32', graph, unreadable);
    return {
      graph,
      parameter: (name, shape) => source.parameter(name, shape),
      multiply: (_x, { name }) => {
        multiplied.add(name);
        return undefined;
      },
      lookUp: (_tokens, { name }) => {
        looked.add(name);
        return undefined;
      },
    };
  });
  return new Set([...looked].filter((name) => multiplied.has(name)));
}

/** For graphs built only for their names and shapes. */
export const unreadable: WeightReader = {
  read: (name) => Promise.reject(internalError(`nothing can give the numbers of "${name}"`)),
};

type MakeForm = (weight: MakeWeight, reader: WeightReader, options: StoredSourceOptions) => StoredProducts;

/** Without a form, products and look-ups are in float32. */
const forms: Readonly<Partial<Record<MemoryType, MakeForm>>> = {
  stored: codedProducts,
  f16: halfProducts,
  w8a8: byteProducts,
  int4: blockProducts,
};

/** Half precision: rounds weights; norms, sums and the state stay float32. */
function halfProducts(weight: MakeWeight, reader: WeightReader, options: StoredSourceOptions): StoredProducts {
  const part = matrixParts(reader, () => ({ kind: 'halves' }), options);
  const halves = (matrices: readonly WeightMatrix[]): Value => {
    const stored = part(matrices, 'halves', 'float16', (outputs) => matrixShape({ ...matrices[0], outputs }));
    return weight(joinedName(matrices), stored);
  };
  return {
    multiply(x, matrices) {
      const transposeB = matrices[0].layout === 'outputs-first';
      const weights = halves(matrices);
      // Without half-precision products the runtime widens the weights once, on opening the model.
      if (options.halfProducts !== true) return matmul(x, cast(weights, 'float32'), { transposeB });
      return cast(matmul(cast(x, 'float16'), weights, { transposeB }), 'float32');
    },
    lookUp: (tokens, table) => cast(gather(halves([table]), tokens), 'float32'),
  };
}

/** Eight bits: weights scaled per output, activations per row. */
function byteProducts(weight: MakeWeight, reader: WeightReader, options: StoredSourceOptions): StoredProducts {
  const partOf = (layout: MatrixShape['layout']) => matrixParts(reader, () => ({ kind: 'bytes', layout }), options);
  const [ofColumns, ofRows] = [partOf('inputs-first'), partOf('outputs-first')];
  const columns = (matrices: readonly WeightMatrix[]): Value => {
    const part = ofColumns(matrices, 'codes', 'int8', (outputs) => [matrices[0].inputs, outputs]);
    return weight(`${joinedName(matrices)}.codes`, part);
  };
  const scales = (partOf: PartOf, matrices: readonly WeightMatrix[]): Value => {
    const part = partOf(matrices, 'scales', 'float32', (outputs) => [outputs]);
    return weight(`${joinedName(matrices)}.scales`, part);
  };
  return {
    // The graph merges equal nodes: projections of one x share its codes.
    multiply: (x, matrices) => integerMatmul(quantizeRows(x), columns(matrices), scales(ofColumns, matrices)),
    lookUp(tokens, table) {
      const shared = options.sharedTables?.has(table.name) === true;
      const scale = reshape(gather(scales(shared ? ofColumns : ofRows, [table]), tokens), [...tokens.shape, 1]); // [...,1]
      if (shared) {
        // The table's rows are columns of the head's matrix.
        const found = gather(columns([table]), tokens, 1); // [width,...]
        const rows = transpose(found, [...tokens.shape.map((_, axis) => axis + 1), 0]); // [...,width]
        return mul(cast(rows, 'float32'), scale);
      }
      const codes = ofRows([table], 'codes', 'int8', (outputs) => [outputs, table.inputs]);
      return mul(cast(gather(weight(`${table.name}.codes`, codes), tokens), 'float32'), scale);
    },
  };
}

/** Four bits, a scale per block of inputs; the engine also quantizes activations per block. */
function blockProducts(weight: MakeWeight, reader: WeightReader, options: StoredSourceOptions): StoredProducts {
  /** The smallest block that holds a whole row, at most `block`. */
  const sizeOf = (inputs: number): BlockSize => {
    const { block = blockSizes[0] } = options;
    return blockSizes.find((size) => size >= inputs && size < block) ?? block;
  };
  const part = matrixParts(reader, ({ inputs }) => ({ kind: 'blocks', size: sizeOf(inputs) }), options);
  const partsOf = (matrices: readonly WeightMatrix[]): [codes: Value, scales: Value] => {
    const [{ inputs }] = matrices;
    const size = sizeOf(inputs);
    const blocks = blocksPerRow(inputs, size);
    const name = joinedName(matrices);
    return [
      weight(
        `${name}.codes`,
        part(matrices, 'codes', 'uint8', (outputs) => [outputs, blocks, size / 2]),
      ),
      weight(
        `${name}.scales`,
        part(matrices, 'scales', 'float32', (outputs) => [outputs, blocks]),
      ),
    ];
  };
  return {
    multiply: (x, matrices) => blockMatmul(x, ...partsOf(matrices)),
    lookUp(tokens, table) {
      const { inputs } = table;
      const size = sizeOf(inputs);
      const padded = blocksPerRow(inputs, size) * size;
      const found = blockGather(...partsOf([table]), tokens); // [...,blocks,size]
      const rows = reshape(found, [...tokens.shape, padded]); // [...,blocks*size]
      return padded === inputs ? rows : slice(rows, tokens.rank, 0, inputs);
    },
  };
}
