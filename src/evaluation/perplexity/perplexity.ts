/** Perplexity: exp of the mean −log p of the tokens of a text, each predicted from the tokens before it. */
import { LinnetError } from '../../errors.ts';
import { Graph } from '../../graph/graph.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { crossEntropy } from '../../graph/ops/softmax.ts';
import { dataOf, type Tensor } from '../../graph/tensor.ts';
import type { CausalModel } from '../../models/model.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import { InputParameters } from '../../nn/parameters.ts';
import { compile, type CompileOptions, type Program } from '../../runtime/compile.ts';
import { checkTokens, type EvaluationData, scoredTokens } from './scored-windows.ts';
import { batchTensors, scoredSum, type WindowBatch, windowBatches } from './window-batches.ts';

/** Perplexity, and what it was measured on. */
export interface PerplexityResult {
  /** exp(`nll`). */
  readonly perplexity: number;
  /** Mean −log p over all scored tokens, in nats. Not finite if the model's output is not. */
  readonly nll: number;
  /** Tokens that were scored. */
  readonly tokens: number;
  /** Documents with at least one scored token. */
  readonly documents: number;
}

/** How the evaluator is compiled. */
export interface EvaluatorOptions extends CompileOptions {
  /** Padded tokens that run at once, at least one window. Default: 1024, fewer with a large vocabulary. */
  readonly batchTokens?: number;
}

export interface EvaluationProgress {
  /** Windows done. */
  readonly windows: number;
  readonly totalWindows: number;
  /** Mean −log p so far. */
  readonly nll: number;
}

/** How one text is evaluated. */
export interface EvaluateOptions {
  /** Called after every batch of windows. */
  readonly onProgress?: (progress: EvaluationProgress) => void;
  /** Stops the work, with an error `ABORTED`. */
  readonly signal?: AbortSignal;
}

/** Padded tokens per run where memory is no concern: enough rows for fast products. */
const mostBatchTokens = 1024;

/** Logits of a run, in numbers: 128 MiB, of which the loss holds two or three. */
const mostLogits = 1 << 25;

/**
 * Measures a model again and again on the same text while its parameters change. The parameters are inputs of the
 * compiled graphs, which are not copied, so nothing is compiled anew. Make it with `create`; `dispose` of it.
 */
export class PerplexityEvaluator {
  readonly #data: EvaluationData;
  readonly #batches: readonly { readonly batch: WindowBatch; readonly program: Program }[];

  private constructor(data: EvaluationData, batches: readonly { batch: WindowBatch; program: Program }[]) {
    this.#data = data;
    this.#batches = batches;
  }

  /**
   * Compiles one graph per shape of batch.
   * @throws LinnetError `INPUT` if there is nothing to score, `MISMATCH` for tokens outside the model's vocabulary
   */
  static async create(
    model: CausalModel,
    data: EvaluationData,
    options: EvaluatorOptions = {},
  ): Promise<PerplexityEvaluator> {
    const { vocabulary } = model.sizes;
    const { batchTokens = Math.min(mostBatchTokens, Math.floor(mostLogits / vocabulary)), ...compileOptions } = options;
    checkData(data, vocabulary);
    const programs = new Map<string, Program>();
    const batches: { batch: WindowBatch; program: Program }[] = [];
    try {
      for (const batch of windowBatches(data.windows, batchTokens)) {
        const shape = `${batch.rows}x${batch.length}`;
        const program = programs.get(shape) ?? (await compile(windowLossGraph(model, batch), compileOptions));
        programs.set(shape, program);
        batches.push({ batch, program });
      }
    } catch (error) {
      for (const program of programs.values()) await program.dispose();
      throw error;
    }
    return new PerplexityEvaluator(data, batches);
  }

  /**
   * Runs all windows. Sums are kept in float64.
   * @param parameters all parameters of the model, float32 by name
   * @throws LinnetError `TENSOR` for a missing parameter, `ABORTED` when the signal fires between two batches
   */
  async evaluate(
    parameters: ReadonlyMap<string, Tensor<'float32'>>,
    options: EvaluateOptions = {},
  ): Promise<PerplexityResult> {
    const totalWindows = this.#data.windows.length;
    let total = 0;
    let tokens = 0;
    let windows = 0;
    for (const { batch, program } of this.#batches) {
      if (options.signal?.aborted === true) {
        throw new LinnetError('ABORTED', `evaluation stopped after ${windows} of ${totalWindows} windows`);
      }
      const feeds = { ...Object.fromEntries(parameters), ...batchTensors(batch) };
      const { losses } = await program.run(onlyInputs(program, feeds), ['losses']);
      total += scoredSum(batch, dataOf(losses, 'float32'));
      tokens += scoredTokens(batch.windows);
      windows += batch.windows.length;
      options.onProgress?.({ windows, totalWindows, nll: total / tokens });
    }
    const nll = total / tokens;
    return { perplexity: Math.exp(nll), nll, tokens, documents: this.#data.documents };
  }

  /** Frees the compiled graph. */
  async dispose(): Promise<void> {
    for (const program of new Set(this.#batches.map((entry) => entry.program))) await program.dispose();
  }
}

/**
 * Measures a model once.
 * @throws LinnetError as `PerplexityEvaluator.create` and `evaluate`
 * @example
 * ```ts
 * const { perplexity: value } = await perplexity(model, parameters, data);
 * ```
 */
export async function perplexity(
  model: CausalModel,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  data: EvaluationData,
  options: EvaluatorOptions & EvaluateOptions = {},
): Promise<PerplexityResult> {
  const { onProgress, signal, ...evaluatorOptions } = options;
  const evaluator = await PerplexityEvaluator.create(model, data, evaluatorOptions);
  try {
    return await evaluator.evaluate(parameters, { onProgress, signal });
  } finally {
    await evaluator.dispose();
  }
}

/** `inputs` and `labels` int32 [B,n] and the parameters → `losses` [B·n]: one number per token leaves the engine. */
export function windowLossGraph(model: CausalModel, { rows, length }: WindowBatch): Graph {
  const graph = new Graph(`perplexity ${rows}x${length}`);
  const inputs = graph.input('inputs', 'int32', [rows, length]);
  const labels = graph.input('labels', 'int32', [rows, length]);
  const source = new InputParameters(graph);
  const hidden = parallelHidden(model, source, inputs); // [B,n,width]
  const logits = model.head(source, reshape(hidden, [rows * length, model.sizes.width])); // [B*n,V]
  graph.output('losses', crossEntropy(logits, reshape(labels, [rows * length])));
  return graph;
}

/** Parameters that a short batch does not reach, such as α with a single group, are no inputs of its program. */
export function onlyInputs(program: Program, feeds: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  const needed: Record<string, Tensor> = {};
  for (const name of program.inputs.keys()) {
    const value = feeds[name];
    if (value === undefined) throw new LinnetError('TENSOR', `parameter "${name}" is missing`);
    needed[name] = value;
  }
  return needed;
}

function checkData({ windows }: EvaluationData, vocabulary: number): void {
  if (scoredTokens(windows) === 0)
    throw new LinnetError('INPUT', 'there is no token to predict in the evaluation text');
  checkTokens(windows, vocabulary);
}
