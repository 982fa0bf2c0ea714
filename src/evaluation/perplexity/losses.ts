/**
 * −log p of windows' tokens, in nats, by two backends that agree up to rounding: a graph over whole windows, for models whose
 * weights are at hand, and an engine's step form, for exported models and texts of any length.
 */
import { type AnyParameter, layeredWeights } from '../../checkpoint/stored-parameter.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { mostLogits, negativeLogLikelihood } from '../../decoding/log-sum-exp.ts';
import { requireRunning, type Stoppable, type Watched } from '../../errors.ts';
import { graphCost } from '../../graph/cost.ts';
import { Graph } from '../../graph/graph.ts';
import { sub } from '../../graph/ops/elementwise.ts';
import { gatherElements } from '../../graph/ops/indexing.ts';
import { concat, reshape, split } from '../../graph/ops/layout.ts';
import { crossEntropy } from '../../graph/ops/normalization.ts';
import { max } from '../../graph/ops/reduce.ts';
import { modelStateBytes } from '../../models/graphs/model-layout.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import type { CausalModel } from '../../models/model.ts';
import { InputParameters, parameterCount } from '../../nn/parameters.ts';
import { overPositions } from '../../training/objectives/next-token.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import type { SegmentWeights } from '../../runtime/segmented-program.ts';
import { segmentedBytes } from '../../runtime/weighted-program.ts';
import type { MemoryForm } from '../../training/memory-form.ts';
import { processBytes, runsLean, timesKept } from '../../training/step-cost.ts';
import { checkTokens, type ScoredWindow } from './scored-windows.ts';
import {
  usualBatchTokens,
  scoredRows,
  type WindowBatch,
  windowBatches,
  compileWindows,
  type WindowGraphOptions,
  type WindowGraphs,
  type WindowOutputs,
  type WindowResults,
} from './window-batches.ts';

/**
 * Compiles the losses of windows; parameters are inputs.
 * @param gaps whether to return also how far each token's logit is below the largest
 * @throws LinnetError `MISMATCH` for tokens outside the model's vocabulary
 */
export async function compileLosses(
  model: CausalModel,
  windows: readonly ScoredWindow[],
  options?: WindowGraphOptions,
  gaps = false,
): Promise<WindowGraphs> {
  const { vocabulary } = model.sizes;
  checkTokens(windows, vocabulary);
  const lean = runsLean(model.parameters, options?.device);
  return await compileWindows(windows, (batch) => lossGraph(model, batch, gaps), vocabulary, { lean, ...options });
}

/**
 * Memory of window losses: with all parameters in memory, and layer by layer.
 * @param weights parameters as they would be read
 */
export function lossesMemory(
  model: CausalModel,
  windows: readonly ScoredWindow[],
  weights: SegmentWeights,
  batchTokens = usualBatchTokens(model.sizes.vocabulary),
): Record<MemoryForm, number> {
  const batches = windowBatches(windows, batchTokens);
  const largest = batches.reduce((a, b) => (b.rows * b.length > a.rows * a.length ? b : a));
  const graph = lossGraph(model, largest);
  const kept = timesKept(runsLean(model.parameters));
  return {
    whole: processBytes + 4 * parameterCount(model.parameters) + kept * graphCost(graph).peakBytes,
    layers: processBytes + segmentedBytes(graph, weights, batches.length),
  };
}

/** Losses by the step form, window by window. @throws LinnetError `ABORTED` between two windows, and like `readBySteps` */
export async function* engineLosses(
  engine: StepEngine,
  windows: readonly ScoredWindow[],
  signal?: AbortSignal,
): WindowResults {
  const read = readBySteps(engine);
  for (const [done, window] of windows.entries()) {
    requireRunning(signal, `after ${done} of ${windows.length} windows`);
    const [{ losses }] = await read([window]);
    yield [{ window, outputs: { losses } }];
  }
}

/**
 * Window losses by a graph, in order; by graphs of layers if parameters are in files.
 * @throws LinnetError `MISMATCH` for tokens outside the vocabulary, `ABORTED` between two batches
 */
export async function tokenLosses(...read: Parameters<typeof tokenOutputs>): Promise<Float32Array[]> {
  return (await tokenOutputs(...read)).map(({ losses }) => losses);
}

/** `tokenLosses` and, with `gaps`, how far each token's logit is below the largest. */
export async function tokenOutputs(
  model: CausalModel,
  parameters: ReadonlyMap<string, AnyParameter>,
  windows: readonly ScoredWindow[],
  { signal, ...options }: WindowGraphOptions & Stoppable = {},
  gaps = false,
): Promise<WindowOutputs['outputs'][]> {
  await using graphs = await compileLosses(model, windows, { weights: layeredWeights(parameters), ...options }, gaps);
  return await graphs.map(parameters, ({ outputs }) => outputs, signal);
}

/**
 * `inputs` int32 [B,n], inputs of `scoredRows` and the parameters → `losses` of predictions and, with `gaps`, how far the
 * token's logit is below the largest.
 */
function lossGraph(model: CausalModel, batch: WindowBatch, gaps = false): Graph {
  const { rows, length } = batch;
  const graph = new Graph(`perplexity ${rows}x${length}`);
  const inputs = graph.input('inputs', 'int32', [rows, length]);
  const source = new InputParameters(graph);
  const hidden = reshape(parallelHidden(model, source, inputs), [rows * length, model.sizes.width]);
  const { values, labels } = scoredRows(graph, batch, [hidden]);
  const blocks = overPositions([...values, labels], model.sizes.vocabulary, ([features, label]) => {
    const logits = model.head(source, features); // [positions,V]
    const column = [...label.shape, 1];
    const losses = reshape(crossEntropy(logits, label), column);
    if (!gaps) return losses;
    const token = gatherElements(logits, reshape(label, column), 1);
    return concat([losses, sub(max(logits, [1], true), token)], 1); // [positions,2]
  });
  const names = gaps ? ['losses', 'gaps'] : ['losses'];
  const columns = split(
    concat(blocks, 0),
    1,
    names.map(() => 1),
  );
  names.forEach((name, i) => graph.output(name, reshape(columns[i], labels.shape))); // [B·n] or [B·A]
  return graph;
}

/**
 * Reads a window from its start and passes on the logits at every position followed by a token.
 *
 * @param visit `position`, and its logits [V], valid only during the call
 * @returns the state after all tokens but the last
 */
export async function readWindow(
  engine: StepEngine,
  { source, tokens }: ScoredWindow,
  visit: (position: number, logits: Float32Array) => void,
): Promise<SequenceState> {
  const state = engine.newState(source && (await engine.encode(source)));
  const chunk = Math.max(1, Math.min(engine.promptChunk, Math.floor(mostLogits / engine.model.sizes.vocabulary)));
  const read = tokens.subarray(0, tokens.length - 1);
  for await (const { output, start } of engine.read(state, read, { chunk, weights: 'step' }, true)) {
    output.logits.forEach((logits, node) => visit(start + node, logits));
  }
  return state;
}

/** Window losses, index i for token i + 1, each with the state's bytes after all its tokens. */
export type ReadLosses = (
  windows: readonly ScoredWindow[],
  watch?: Watched,
) => Promise<readonly { readonly losses: Float32Array; readonly stateBytes: number }[]>;

/**
 * Losses by the step form, read in chunks: memory does not grow with the text, apart from the state. Reports tokens read.
 * @throws LinnetError `MISMATCH` for a token outside the vocabulary, `ABORTED` between two chunks, and like `StepEngine.step`
 */
export function readBySteps(engine: StepEngine): ReadLosses {
  return async (windows, { signal, onProgress } = {}) => {
    const total = windows.reduce((sum, { tokens }) => sum + tokens.length - 1, 0);
    const results = [];
    let read = 0;
    for (const window of windows) {
      const losses = new Float32Array(Math.max(0, window.tokens.length - 1));
      const state = await readWindow(engine, window, (position, logits) => {
        requireRunning(signal, `after ${read} of ${total} tokens`);
        const next = position + 1;
        // The step checks the tokens it reads; a window's last token is only predicted.
        checkTokens([{ tokens: window.tokens.subarray(next, next + 1) }], logits.length);
        if (next >= window.scoredFrom) losses[position] = negativeLogLikelihood(logits, window.tokens[next]);
        onProgress?.(++read, total);
      });
      results.push({ losses, stateBytes: state.bytes });
    }
    return results;
  };
}

/** Losses like `tokenLosses`, for parameters in files, layer by layer. */
export function readByLayers(
  { model, parameters }: { readonly model: CausalModel; readonly parameters: ReadonlyMap<string, AnyParameter> },
  options: CompileOptions = {},
): ReadLosses {
  return async (windows, { signal } = {}) => {
    const read = await tokenLosses(model, parameters, windows, { ...options, signal });
    return read.map((losses) => ({ losses, stateBytes: modelStateBytes(model, losses.length) }));
  };
}
