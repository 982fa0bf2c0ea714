/**
 * −log p of the tokens of windows, in nats, by two backends that say the same up to rounding: a graph over whole windows, for
 * models whose weights are at hand, and the step form of an engine, for exported models and texts of any length.
 */
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { negativeLogLikelihood, readScored } from '../../engine/log-likelihood.ts';
import { LinnetError } from '../../errors.ts';
import { Graph } from '../../graph/graph.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { crossEntropy } from '../../graph/ops/softmax.ts';
import { dataOf, type Tensor } from '../../graph/tensor.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import type { CausalModel } from '../../models/model.ts';
import { InputParameters } from '../../nn/parameters.ts';
import { compile, type CompileOptions, type Program } from '../../runtime/compile.ts';
import { checkTokens, type ScoredWindow } from './scored-windows.ts';
import { batchTensors, type WindowBatch, windowBatches } from './window-batches.ts';

/** Losses of a window. */
export interface WindowLosses {
  readonly window: ScoredWindow;
  /** Index i is that of token i + 1; the step form leaves 0 for tokens that are not scored. */
  readonly losses: Float32Array;
}

/** How graphs of losses are compiled. */
export interface LossGraphOptions extends CompileOptions {
  /** Padded tokens that run at once, at least one window. Default: 1024, fewer with a large vocabulary. */
  readonly batchTokens?: number;
}

type Parameters = ReadonlyMap<string, Tensor<'float32'>>;

/** Padded tokens per run where memory is no concern: enough rows for fast products. */
const mostBatchTokens = 1024;
/** Logits of a run, in numbers: 128 MiB, of which the loss holds two or three. */
const mostLogits = 1 << 25;

/** Graphs over windows, one for each shape of batch. Parameters are inputs of them. Dispose of it. */
export class LossGraphs {
  readonly #batches: readonly { readonly batch: WindowBatch; readonly program: Program }[];

  private constructor(batches: readonly { batch: WindowBatch; program: Program }[]) {
    this.#batches = batches;
  }

  /** @throws LinnetError `MISMATCH` for tokens outside the model's vocabulary */
  static async create(
    model: CausalModel,
    windows: readonly ScoredWindow[],
    options: LossGraphOptions = {},
  ): Promise<LossGraphs> {
    const { vocabulary } = model.sizes;
    const { batchTokens = Math.min(mostBatchTokens, Math.floor(mostLogits / vocabulary)), ...compileOptions } = options;
    checkTokens(windows, vocabulary);
    const programs = new Map<string, Program>();
    const batches: { batch: WindowBatch; program: Program }[] = [];
    try {
      for (const batch of windowBatches(windows, batchTokens)) {
        const shape = `${batch.rows}x${batch.length}`;
        const program = programs.get(shape) ?? (await compile(lossGraph(model, batch), compileOptions));
        programs.set(shape, program);
        batches.push({ batch, program });
      }
    } catch (error) {
      for (const program of programs.values()) await program.dispose();
      throw error;
    }
    return new LossGraphs(batches);
  }

  /** Losses batch by batch. @throws LinnetError `TENSOR` for a missing parameter */
  async *losses(parameters: Parameters): AsyncGenerator<readonly WindowLosses[], void, undefined> {
    for (const { batch, program } of this.#batches) {
      const feeds = { ...Object.fromEntries(parameters), ...batchTensors(batch) };
      const results = await program.run(onlyInputs(program, feeds), ['losses']);
      const data = dataOf(results.losses, 'float32');
      yield batch.windows.map((window, row) => ({
        window,
        losses: data.slice(row * batch.length, row * batch.length + window.tokens.length - 1),
      }));
    }
  }

  async dispose(): Promise<void> {
    for (const program of new Set(this.#batches.map((entry) => entry.program))) await program.dispose();
  }
}

/**
 * Losses of windows by a graph, in their order.
 * @throws LinnetError `MISMATCH` for tokens outside the vocabulary, `ABORTED` between two batches
 */
export async function tokenLosses(
  model: CausalModel,
  parameters: Parameters,
  windows: readonly ScoredWindow[],
  { signal, ...options }: CompileOptions & { readonly signal?: AbortSignal } = {},
): Promise<Float32Array[]> {
  const graphs = await LossGraphs.create(model, windows, options);
  const found = new Map<ScoredWindow, Float32Array>();
  const stopIfAsked = (): void => {
    if (signal?.aborted === true) throw new LinnetError('ABORTED', 'stopped while tokens were scored');
  };
  try {
    stopIfAsked();
    for await (const batch of graphs.losses(parameters)) {
      for (const { window, losses } of batch) found.set(window, losses);
      stopIfAsked();
    }
  } finally {
    await graphs.dispose();
  }
  return windows.map((window) => found.get(window) ?? new Float32Array(0));
}

/** `inputs` and `labels` int32 [B,n] and the parameters → `losses` [B·n]: one number per token leaves the engine. */
function lossGraph(model: CausalModel, { rows, length }: WindowBatch): Graph {
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
function onlyInputs(program: Program, feeds: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  const needed: Record<string, Tensor> = {};
  for (const name of program.inputs.keys()) {
    const value = feeds[name];
    if (value === undefined) throw new LinnetError('TENSOR', `parameter "${name}" is missing`);
    needed[name] = value;
  }
  return needed;
}

/**
 * Reads a window from its start and gives out the logits of every position that is followed by a token.
 *
 * @param visit `position`, and its logits [V], which are valid during the call only
 * @returns the state after all tokens but the last
 */
export async function readWindow(
  engine: StepEngine,
  { source, tokens }: ScoredWindow,
  visit: (position: number, logits: Float32Array) => void,
): Promise<SequenceState> {
  const state = engine.newState(source && (await engine.encode(source)));
  await readScored(engine, state, tokens.subarray(0, tokens.length - 1), visit);
  return state;
}

/**
 * Losses of a window by the step form, read in chunks: memory does not grow with the text, apart from the state, whose
 * bytes in the end are `stateBytes`.
 * @throws LinnetError `MISMATCH` for a token outside the vocabulary, `ABORTED` between two chunks, and as `StepEngine.step`
 */
export async function stepLosses(
  engine: StepEngine,
  window: ScoredWindow,
  { signal, onProgress }: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<WindowLosses & { readonly stateBytes: number }> {
  const losses = new Float32Array(Math.max(0, window.tokens.length - 1));
  const state = await readWindow(engine, window, (position, logits) => {
    if (signal?.aborted === true) {
      throw new LinnetError('ABORTED', `stopped after ${position} of ${losses.length} tokens`);
    }
    const next = position + 1;
    // The step checks the tokens it reads; the last token of a window is only predicted.
    checkTokens([{ tokens: window.tokens.subarray(next, next + 1) }], logits.length);
    if (next >= window.scoredFrom) losses[position] = negativeLogLikelihood(logits, window.tokens[next]);
    onProgress?.(next, losses.length);
  });
  return { window, losses, stateBytes: state.bytes };
}
