/**
 * Medusa heads (Cai et al., arXiv 2401.10774): draft heads on the hidden states of a model. The model's own head
 * predicts the next token, t + 1; head i, counted from 1, predicts token t + 1 + i from the same hidden state. Each is
 *
 *     x ← x + SiLU(W x + b)     `layers` times, every block with weights of its own
 *     logits = P x              P [V,width], no bias
 *
 * P starts as the model's head, with its factor of hidden states. W and b start at zero, so that a fresh head is exactly
 * the model's head. (The reference code leaves b at PyTorch's random default, so its heads start slightly off, and gives all
 * blocks of a head one set of weights, since it repeats one module object.) Names follow the reference's checkpoints.
 */
import { LinnetError } from '../../errors.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { add, silu } from '../../graph/ops/elementwise.ts';
import { type Tensor, type WeightMap, type Weights, dataOf, float32, tensor, zeros } from '../../graph/tensor.ts';
import { linear } from '../../nn/linear.ts';
import {
  type DeclaredParameters,
  InputParameters,
  ParameterList,
  type ParameterSource,
  WeightParameters,
} from '../../nn/parameters.ts';
import { type GeneratingModel, type ModelSizes, decoderOf } from '../model.ts';
import { concat, reshape } from '../../graph/ops/layout.ts';
import { type CompileOptions, compile } from '../../runtime/compile.ts';
import type { Program } from '../../runtime/program.ts';
import { largest } from '../../graph/largest.ts';

/** How many heads, and how deep. */
export interface MedusaConfig {
  /** Draft heads; the deepest draft is one token longer. */
  readonly heads: number;
  /** Residual blocks of each head, 1 in the reference. */
  readonly layers: number;
}

/** Upper bounds for files and options. */
export const medusaLimits = { heads: 16, layers: 8 } as const;

/** Whether a parameter is of the heads rather than of the model. */
export function isMedusaParameter(name: string): boolean {
  return name.startsWith('medusa_head.');
}

/** Names of head `head`, counted from 0, and of its block `layer`. */
const names = {
  block: (head: number, layer: number) => `medusa_head.${head}.${layer}.linear`,
  projection: (head: number, { layers }: MedusaConfig) => `medusa_head.${head}.${layers}`,
};

/** All parameters of the heads. @throws LinnetError `CONFIG` for impossible numbers of heads or layers */
export function medusaParameters(
  config: MedusaConfig,
  { width, vocabulary }: Pick<ModelSizes, 'width' | 'vocabulary'>,
): DeclaredParameters {
  checkConfig(config);
  const list = new ParameterList();
  for (let head = 0; head < config.heads; head++) {
    for (let layer = 0; layer < config.layers; layer++) {
      list.add('matrix', `${names.block(head, layer)}.weight`, [width, width]);
      list.add('bias', `${names.block(head, layer)}.bias`, [width]);
    }
    list.add('head', `${names.projection(head, config)}.weight`, [vocabulary, width]);
  }
  return list.all;
}

function checkConfig(config: MedusaConfig): void {
  for (const key of ['heads', 'layers'] as const) {
    const value = config[key];
    if (Number.isInteger(value) && value >= 1 && value <= medusaLimits[key]) continue;
    throw new LinnetError('CONFIG', `Medusa with ${value} ${key} is not possible; expected 1 to ${medusaLimits[key]}`);
  }
}

/** Fresh heads: blocks at zero, projections copied from the model's head. */
export function initializeMedusa(config: MedusaConfig, model: GeneratingModel, parameters: Weights): WeightMap {
  const headName = headWeight(model);
  const head = parameters.get(headName);
  if (head === undefined) throw new LinnetError('TENSOR', `parameter "${headName}" is missing`);
  const projections = new Set(Array.from({ length: config.heads }, (_, i) => `${names.projection(i, config)}.weight`));
  const fresh: WeightMap = new Map();
  const { headScale = 1 } = decoderOf(model);
  for (const [name, { shape }] of medusaParameters(config, model.sizes)) {
    const isProjection = projections.has(name);
    fresh.set(
      name,
      isProjection
        ? float32(
            head.shape,
            head.data.map((x) => x * headScale),
          )
        : zeros('float32', shape),
    );
  }
  return fresh;
}

/** The name of the matrix [V,width] that the model's head multiplies by: the embedding where the two are tied. */
function headWeight(model: GeneratingModel): string {
  const { width, vocabulary } = model.sizes;
  const source = new InputParameters(new Graph('head'));
  model.head(source, source.graph.input('hidden', 'float32', [1, width]));
  const matrices = [...source.values].filter(([, { shape }]) => String(shape) === String([vocabulary, width]));
  if (matrices.length === 1) return matrices[0][0];
  throw new LinnetError(
    'CONFIG',
    `the head of a ${model.family} model is not a single matrix; Medusa heads cannot start from it`,
  );
}

/**
 * Logits of every head.
 *
 * @param source gives the parameters of `medusaParameters`
 * @param hidden hidden states after the final norm [N,width]
 * @returns per head [N,V]
 */
function medusaLogits(
  config: MedusaConfig,
  sizes: Pick<ModelSizes, 'width' | 'vocabulary'>,
  source: ParameterSource,
  hidden: Value,
): Value[] {
  return Array.from({ length: config.heads }, (_, head) => headLogits(config, sizes, source, head, hidden));
}

/** Logits [N,V] of head `head`, counted from 0. */
export function headLogits(
  config: MedusaConfig,
  { width, vocabulary }: Pick<ModelSizes, 'width' | 'vocabulary'>,
  source: ParameterSource,
  head: number,
  hidden: Value,
): Value {
  let x = hidden;
  for (let layer = 0; layer < config.layers; layer++) {
    const block = names.block(head, layer);
    const bias = source.parameter(`${block}.bias`, [width]);
    x = add(x, silu(add(linear(source, block, x, width), bias)));
  }
  return linear(source, names.projection(head, config), x, vocabulary);
}

// Medusa heads compiled for drafting: a hidden state in, the most likely tokens of every head out.

/** Draft heads ready to run. `create` compiles them, an exported model brings them along. `dispose` of them. */
export class MedusaHeads implements AsyncDisposable {
  readonly config: MedusaConfig;
  readonly #sizes: Pick<ModelSizes, 'width' | 'vocabulary'>;
  readonly #program: Program;

  /** @param program the graph that `medusaGraph` describes */
  constructor(config: MedusaConfig, sizes: Pick<ModelSizes, 'width' | 'vocabulary'>, program: Program) {
    this.config = config;
    this.#sizes = sizes;
    this.#program = program;
  }

  /** Compiles the heads with the given parameters as weights. @throws LinnetError `TENSOR` for missing or misshapen parameters */
  static async create(
    config: MedusaConfig,
    sizes: Pick<ModelSizes, 'width' | 'vocabulary'>,
    parameters: ReadonlyMap<string, Tensor>,
    options?: CompileOptions,
  ): Promise<MedusaHeads> {
    const graph = medusaGraph(config, sizes, (made) => new WeightParameters(made, parameters));
    return new MedusaHeads(config, sizes, await compile(graph, options));
  }

  /** Number of heads; head i of it, counted from 0, predicts the token i + 2 places after the hidden state's. */
  get count(): number {
    return this.config.heads;
  }

  /**
   * Logits of every head.
   * @param hidden hidden states after the final norm [N,width]
   * @returns [H,N,V]
   * @throws LinnetError `SHAPE` if the numbers are not N rows of width
   */
  async logits(hidden: Float32Array): Promise<Tensor<'float32'>> {
    const { width, vocabulary } = this.#sizes;
    const rows = hidden.length / width;
    if (!Number.isInteger(rows) || rows < 1) {
      throw new LinnetError('SHAPE', `hidden states are rows of ${width} numbers, got ${hidden.length} numbers`);
    }
    const { logits } = await this.#program.run({ hidden: tensor('float32', [rows, width], hidden) }, ['logits']);
    return tensor('float32', [this.count, rows, vocabulary], dataOf(logits, 'float32'));
  }

  /**
   * The k most likely tokens of every head, most likely first, the lower id first among equals.
   * @param hidden one hidden state [width]
   * @throws LinnetError `SHAPE` for a hidden state of another width; `INPUT` if k is not 1 to V
   */
  async topK(hidden: Float32Array, k: number): Promise<Int32Array[]> {
    const { width, vocabulary } = this.#sizes;
    if (!(Number.isInteger(k) && k >= 1 && k <= vocabulary)) {
      throw new LinnetError('INPUT', `cannot take the ${k} most likely of ${vocabulary} tokens`);
    }
    if (hidden.length !== width)
      throw new LinnetError('SHAPE', `a hidden state has ${width} numbers, got ${hidden.length}`);
    const { data } = await this.logits(hidden);
    return Array.from({ length: this.count }, (_, head) =>
      largest(data.subarray(head * vocabulary, (head + 1) * vocabulary), k),
    );
  }

  /** Frees the compiled heads. */
  async dispose(): Promise<void> {
    await this.#program.dispose();
  }

  /** For `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/**
 * `hidden` float32 [N,width] → `logits` [H,N,V].
 * @param makeSource gives the parameters of `medusaParameters`, however they are stored
 */
export function medusaGraph(
  config: MedusaConfig,
  sizes: Pick<ModelSizes, 'width' | 'vocabulary'>,
  makeSource: (graph: Graph) => ParameterSource,
): Graph {
  const graph = new Graph('medusa heads');
  const hidden = graph.input('hidden', 'float32', ['N', sizes.width]);
  const logits = medusaLogits(config, sizes, makeSource(graph), hidden);
  graph.output(
    'logits',
    concat(
      logits.map((rows) => reshape(rows, [1, 'N', sizes.vocabulary])),
      0,
    ),
  ); // [H,N,V]
  return graph;
}
