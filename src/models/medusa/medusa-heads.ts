/** Medusa heads compiled for drafting: from a hidden state to every head's most likely tokens. */
import { LinnetError } from '../../errors.ts';
import { Graph } from '../../graph/graph.ts';
import { concat, reshape } from '../../graph/ops/layout.ts';
import { dataOf, type Tensor, tensor } from '../../graph/tensor.ts';
import { type ParameterSource, WeightParameters } from '../../nn/parameters.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';
import type { Program } from '../../runtime/program.ts';
import { headLogits, type MedusaConfig } from './medusa.ts';
import type { ModelSizes } from '../model.ts';
import { largest } from '../../graph/largest.ts';

/** Draft heads ready to run, from `create` or an exported model. Call `dispose` when done. */
export class MedusaHeads implements AsyncDisposable {
  readonly config: MedusaConfig;
  readonly #sizes: Pick<ModelSizes, 'width' | 'vocabulary'>;
  readonly #program: Program;

  /** @param program runs the graph that `medusaGraph` describes */
  constructor(config: MedusaConfig, sizes: Pick<ModelSizes, 'width' | 'vocabulary'>, program: Program) {
    this.config = config;
    this.#sizes = sizes;
    this.#program = program;
  }

  /** Compiles heads with the given parameters as weights. @throws LinnetError `TENSOR` for missing or misshapen parameters */
  static async create(
    config: MedusaConfig,
    sizes: Pick<ModelSizes, 'width' | 'vocabulary'>,
    parameters: ReadonlyMap<string, Tensor>,
    options?: CompileOptions,
  ): Promise<MedusaHeads> {
    const graph = medusaGraph(config, sizes, (made) => new WeightParameters(made, parameters));
    return new MedusaHeads(config, sizes, await compile(graph, options));
  }

  /** Number of heads; head i, counted from 0, predicts the token i + 2 places after the hidden state's. */
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
   * Every head's k most likely tokens, most likely first, ties by lower id.
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
 * @param makeSource provides the parameters of `medusaParameters`, however they are stored
 */
export function medusaGraph(
  config: MedusaConfig,
  sizes: Pick<ModelSizes, 'width' | 'vocabulary'>,
  makeSource: (graph: Graph) => ParameterSource,
): Graph {
  const graph = new Graph('medusa heads');
  const hidden = graph.input('hidden', 'float32', ['N', sizes.width]);
  const source = makeSource(graph);
  const logits = Array.from({ length: config.heads }, (_, head) => headLogits(config, sizes, source, head, hidden));
  graph.output(
    'logits',
    concat(
      logits.map((rows) => reshape(rows, [1, 'N', sizes.vocabulary])),
      0,
    ),
  ); // [H,N,V]
  return graph;
}
