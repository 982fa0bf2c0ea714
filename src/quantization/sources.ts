/**
 * Parameters of a model as they are stored: float32, or matrices and tables in fewer bits. All others than matrices that
 * multiply activations and tables of rows (norms, biases, taps, factors, feature maps) are float32 in every type.
 */
import { internalError, LinnetError } from '../errors.ts';
import type { Graph, Value } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { cast, mul } from '../graph/ops/elementwise.ts';
import { type DeferredTensor, type Tensor, formatShape, sameShape } from '../graph/tensor.ts';
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
import type { ParameterSource, WeightMatrix, WeightTable } from '../nn/parameters.ts';
import { CodedMatrices } from './coded-parameters.ts';
import { type EncodingProcess, joinedName, MatrixStore, readChecked, type WeightReader } from './weight-reader.ts';

/** Storage types of matrices. */
export const weightTypes = ['f32', 'f16', 'w8a8', 'int4'] as const;
export type WeightType = (typeof weightTypes)[number];

/** Forms of matrices in memory: also `stored`, codes as their file has them. */
export type MemoryType = WeightType | 'stored';

/** Default number of weights per scale of int4. */
export const defaultBlock: BlockSize = 32;

export interface StoredSourceOptions extends EncodingProcess {
  /** Tables that multiply activations too, such as the embedding of a tied head: they are stored once. */
  readonly sharedTables?: ReadonlySet<string>;
  /** Where activations are multiplied in half precision, which f16 is for. Default false: weights become float32. */
  readonly halfProducts?: boolean;
  /** Weights per scale of int4; fewer in rows that one smaller block holds. Default: 32. */
  readonly block?: BlockSize;
}

/** A source of stored parameters; their numbers are read when the graph is compiled or written. */
export function storedParameters(
  type: MemoryType,
  graph: Graph,
  reader: WeightReader,
  options: StoredSourceOptions = {},
): ParameterSource {
  return new sources[type](graph, reader, options);
}

/** Names of the tables that a model looks rows up in and multiplies by as well. */
export function sharedTables(build: (makeSource: (graph: Graph) => ParameterSource) => Graph): Set<string> {
  const looked = new Set<string>();
  const multiplied = new Set<string>();
  build((graph) => {
    const source = new PlainParameters(graph, unreadable);
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

/** For graphs that are built for their names and shapes alone. */
export const unreadable: WeightReader = {
  read: (name) => Promise.reject(internalError(`nothing can give the numbers of "${name}"`)),
};

/** float32: weights unchanged. */
class PlainParameters implements ParameterSource {
  readonly graph: Graph;
  protected readonly options: StoredSourceOptions;
  readonly #reader: WeightReader;
  readonly #values = new Map<string, Value>();

  constructor(graph: Graph, reader: WeightReader, options: StoredSourceOptions = {}) {
    this.graph = graph;
    this.options = options;
    this.#reader = reader;
  }

  parameter(name: string, shape: readonly number[]): Value {
    const load = (): Promise<Tensor<'float32'>> => readChecked(this.#reader, name, shape);
    return this.weight(name, { dtype: 'float32', shape, load, place: this.#reader.place?.(name) });
  }

  /** The weight of a name, made at the first request. */
  protected weight(name: string, tensor: DeferredTensor): Value {
    const known = this.#values.get(name);
    if (known === undefined) {
      const made = this.graph.weight(name, tensor);
      this.#values.set(name, made);
      return made;
    }
    if (known.dtype === tensor.dtype && sameShape(known.shape, tensor.shape)) return known;
    throw new LinnetError('TENSOR', `parameter "${name}" is ${known}, the model needs ${formatShape(tensor.shape)}`);
  }
}

function tableAsMatrix({ name, rows, width }: WeightTable): WeightMatrix {
  return { name, inputs: width, outputs: rows, layout: 'outputs-first' };
}

/** Half precision: weights are rounded; norms, sums and the state stay float32. */
class HalfParameters extends PlainParameters {
  readonly #store: MatrixStore;

  constructor(graph: Graph, reader: WeightReader, options: StoredSourceOptions) {
    super(graph, reader, options);
    this.#store = new MatrixStore(reader, () => ({ kind: 'halves' }), options);
  }

  multiply(x: Value, matrix: WeightMatrix): Value {
    return this.multiplyJoined(x, [matrix]);
  }

  multiplyJoined(x: Value, matrices: readonly WeightMatrix[]): Value {
    const transposeB = matrices[0].layout === 'outputs-first';
    const weights = this.#matrix(...matrices);
    // Without half-precision products the runtime widens the weights once, when it opens the model.
    if (this.options.halfProducts !== true) return matmul(x, cast(weights, 'float32'), { transposeB });
    return cast(matmul(cast(x, 'float16'), weights, { transposeB }), 'float32');
  }

  lookUp(tokens: Value, table: WeightTable): Value {
    return cast(gather(this.#matrix(tableAsMatrix(table)), tokens), 'float32');
  }

  #matrix(...matrices: readonly WeightMatrix[]): Value {
    const [{ inputs, layout }] = matrices;
    const shape = (outputs: number): number[] => (layout === 'outputs-first' ? [outputs, inputs] : [inputs, outputs]);
    return this.weight(joinedName(matrices), this.#store.part(matrices, 'halves', 'float16', shape));
  }
}

/** Eight bits, weights per output and activations per row. */
class ByteParameters extends PlainParameters {
  readonly #products: MatrixStore;
  readonly #tables: MatrixStore;

  constructor(graph: Graph, reader: WeightReader, options: StoredSourceOptions) {
    super(graph, reader, options);
    this.#products = new MatrixStore(reader, () => ({ kind: 'bytes', layout: 'inputs-first' }), options);
    this.#tables = new MatrixStore(reader, () => ({ kind: 'bytes', layout: 'outputs-first' }), options);
  }

  multiply(x: Value, matrix: WeightMatrix): Value {
    return this.multiplyJoined(x, [matrix]);
  }

  multiplyJoined(x: Value, matrices: readonly WeightMatrix[]): Value {
    // The graph merges equal nodes: projections of one x share its codes.
    return integerMatmul(quantizeRows(x), this.#codes(matrices), this.#scales(this.#products, matrices));
  }

  lookUp(tokens: Value, table: WeightTable): Value {
    const matrix = tableAsMatrix(table);
    const shared = this.options.sharedTables?.has(table.name) === true;
    const store = shared ? this.#products : this.#tables;
    const scales = reshape(gather(this.#scales(store, [matrix]), tokens), [...tokens.shape, 1]); // [...,1]
    const rows = shared ? this.#columns(tokens, matrix) : gather(this.#rows(matrix), tokens); // [...,width]
    return mul(cast(rows, 'float32'), scales);
  }

  /** Rows of the table from the matrix of the head, whose columns they are. */
  #columns(tokens: Value, matrix: WeightMatrix): Value {
    const columns = gather(this.#codes([matrix]), tokens, 1); // [width,...]
    return transpose(columns, [...tokens.shape.map((_, axis) => axis + 1), 0]); // [...,width]
  }

  #codes(matrices: readonly WeightMatrix[]): Value {
    const part = this.#products.part(matrices, 'codes', 'int8', (outputs) => [matrices[0].inputs, outputs]);
    return this.weight(`${joinedName(matrices)}.codes`, part);
  }

  #rows(matrix: WeightMatrix): Value {
    const part = this.#tables.part([matrix], 'codes', 'int8', (outputs) => [outputs, matrix.inputs]);
    return this.weight(`${matrix.name}.codes`, part);
  }

  #scales(store: MatrixStore, matrices: readonly WeightMatrix[]): Value {
    const part = store.part(matrices, 'scales', 'float32', (outputs) => [outputs]);
    return this.weight(`${joinedName(matrices)}.scales`, part);
  }
}

/** Four bits, a scale per block of inputs; the engine quantizes activations per block as well. */
class BlockParameters extends PlainParameters {
  readonly #store: MatrixStore;
  readonly #block: BlockSize;

  constructor(graph: Graph, reader: WeightReader, options: StoredSourceOptions) {
    super(graph, reader, options);
    const { block = defaultBlock } = options;
    this.#block = block;
    this.#store = new MatrixStore(
      reader,
      ({ inputs }) => ({ kind: 'blocks', size: fittingBlock(inputs, block) }),
      options,
    );
  }

  multiply(x: Value, matrix: WeightMatrix): Value {
    return this.multiplyJoined(x, [matrix]);
  }

  multiplyJoined(x: Value, matrices: readonly WeightMatrix[]): Value {
    return blockMatmul(x, this.#codes(matrices), this.#scales(matrices));
  }

  lookUp(tokens: Value, table: WeightTable): Value {
    const matrix = tableAsMatrix(table);
    const size = fittingBlock(table.width, this.#block);
    const padded = blocksPerRow(table.width, size) * size;
    const found = blockGather(this.#codes([matrix]), this.#scales([matrix]), tokens); // [...,blocks,size]
    const rows = reshape(found, [...tokens.shape, padded]); // [...,blocks*size]
    return padded === table.width ? rows : slice(rows, tokens.rank, 0, table.width);
  }

  #codes(matrices: readonly WeightMatrix[]): Value {
    const [{ inputs }] = matrices;
    const size = fittingBlock(inputs, this.#block);
    const shape = (outputs: number): number[] => [outputs, blocksPerRow(inputs, size), size / 2];
    return this.weight(`${joinedName(matrices)}.codes`, this.#store.part(matrices, 'codes', 'uint8', shape));
  }

  #scales(matrices: readonly WeightMatrix[]): Value {
    const [{ inputs }] = matrices;
    const shape = (outputs: number): number[] => [outputs, blocksPerRow(inputs, fittingBlock(inputs, this.#block))];
    return this.weight(`${joinedName(matrices)}.scales`, this.#store.part(matrices, 'scales', 'float32', shape));
  }
}

/** The block size of a matrix: the smallest that holds a whole row, at most `block`. */
function fittingBlock(inputs: number, block: BlockSize): BlockSize {
  return blockSizes.find((size) => size >= inputs && size < block) ?? block;
}

/** Codes of the file where it has them; what has none is float32. */
class FileParameters extends PlainParameters {
  readonly #coded: CodedMatrices;

  constructor(graph: Graph, reader: WeightReader, options: StoredSourceOptions) {
    super(graph, reader, options);
    this.#coded = new CodedMatrices(reader, (name, part) => this.weight(name, part));
  }

  multiply(x: Value, matrix: WeightMatrix): Value | undefined {
    return this.#coded.multiply(x, [matrix]);
  }

  multiplyJoined(x: Value, matrices: readonly WeightMatrix[]): Value | undefined {
    return this.#coded.multiply(x, matrices);
  }

  lookUp(tokens: Value, table: WeightTable): Value | undefined {
    return this.#coded.lookUp(tokens, table);
  }
}

type SourceClass = new (graph: Graph, reader: WeightReader, options: StoredSourceOptions) => ParameterSource;

const sources: Readonly<Record<MemoryType, SourceClass>> = {
  stored: FileParameters,
  f32: PlainParameters,
  f16: HalfParameters,
  w8a8: ByteParameters,
  int4: BlockParameters,
};
