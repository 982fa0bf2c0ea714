/** Batches windows of different lengths into few shapes, since each shape is compiled once, and runs graphs over them. */
import { group, sort } from 'd3-array';
import { residentTensors } from '../../checkpoint/stored-parameter.ts';
import { mostLogits } from '../../decoding/log-sum-exp.ts';
import type { Graph, Value } from '../../graph/graph.ts';
import { gather } from '../../graph/ops/indexing.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { dataOf, type DeferredTensor, float32, int32, type Tensor } from '../../graph/tensor.ts';
import { wholeHidden } from '../../models/graphs/parallel-graph.ts';
import type { EncoderInput, GeneratingModel } from '../../models/model.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import type { CompileOptions, NamedTensors } from '../../runtime/compile.ts';
import type { SegmentWeights } from '../../runtime/segmented-program.ts';
import { compileWeighted, runWeighted, type WeightedProgram } from '../../runtime/weighted-program.ts';
import type { ScoredWindow } from './scored-windows.ts';

/** Windows that run together, padded at the end to one length. */
export interface WindowBatch {
  /** B: rows in the compiled graph, at least the number of windows; further rows are padding. */
  readonly rows: number;
  /** n: predictions per row; a window of m tokens has m − 1. */
  readonly length: number;
  /** m: tokens that the windows' sources are padded to; 0 if windows have none. */
  readonly sourceLength: number;
  /** A: scored predictions per row, which `scoredRows` picks out; 0 if they are most of n. */
  readonly scored: number;
  readonly windows: readonly ScoredWindow[];
}

/** Padded lengths are multiples of this; larger steps above 512 keep the shapes per octave at four. */
const smallestStep = 64;

/** The number of predictions that `count` are padded to. From 512 on, at most an eighth is padding. */
export function paddedLength(count: number): number {
  const octave = 2 ** Math.ceil(Math.log2(count));
  const step = Math.max(smallestStep, octave / 8);
  return Math.ceil(count / step) * step;
}

/** A batch's `scored` is a power of two, at least this. */
const fewestScored = 16;

function scoredOf(length: number, windows: readonly ScoredWindow[]): number {
  const most = Math.max(...windows.map(predictionCount));
  const scored = Math.max(fewestScored, 2 ** Math.ceil(Math.log2(most)));
  if (windows.every(({ others = [] }) => others.length === 0)) return 2 * scored > length ? 0 : scored;
  // The number of results tells whether they cover all predictions.
  return scored === length ? 2 * scored : scored;
}

/** A window's predictions that count. */
function predictionCount({ tokens, scoredFrom, others }: ScoredWindow): number {
  return tokens.length - scoredFrom + (others?.length ?? 0);
}

/**
 * Sorts windows into batches of at most `batchTokens` padded tokens (at least one row each). Spreads windows of one padded
 * length evenly, so that a length's batches have one shape and almost no empty rows.
 */
export function windowBatches(windows: readonly ScoredWindow[], batchTokens: number): WindowBatch[] {
  const byLength = group(windows, ({ tokens }) => paddedLength(tokens.length - 1));
  const batches: WindowBatch[] = [];
  for (const [length, bucket] of sort(byLength, ([length]) => length)) {
    const most = Math.max(1, Math.floor(batchTokens / length));
    const rows = Math.ceil(bucket.length / Math.ceil(bucket.length / most));
    for (let start = 0; start < bucket.length; start += rows) {
      const part = bucket.slice(start, start + rows);
      const longestSource = Math.max(0, ...part.map(({ source }) => source?.length ?? 0));
      const sourceLength = longestSource && paddedLength(longestSource);
      batches.push({ rows, length, sourceLength, scored: scoredOf(length, part), windows: part });
    }
  }
  return batches;
}

/**
 * A batch's inputs, padded with token 0: `inputs` to read and `labels` to predict, int32 [B,n]; for predictions that count,
 * their `places` among all and their `answers`, int32 [B·A]; for windows with sources, these int32 [B,m], and in `sourceMask`
 * float32 [B,m] which of their places hold a token.
 */
function batchFeeds({ rows, length, sourceLength, scored, windows }: WindowBatch): NamedTensors {
  const [inputs, labels] = [new Int32Array(rows * length), new Int32Array(rows * length)];
  windows.forEach(({ tokens }, row) => {
    inputs.set(tokens.subarray(0, -1), row * length);
    labels.set(tokens.subarray(1), row * length);
  });
  const [places, answers] = [new Int32Array(rows * scored), new Int32Array(rows * scored)];
  for (const [row, { tokens, scoredFrom, others = [] }] of scored === 0 ? [] : windows.entries()) {
    const last = tokens.length - scoredFrom - 1;
    [...tokens.subarray(scoredFrom), ...others].forEach((token, i) => {
      places[row * scored + i] = row * length + scoredFrom - 1 + Math.min(i, last);
      answers[row * scored + i] = token;
    });
  }
  const feeds = {
    inputs: int32([rows, length], inputs),
    labels: int32([rows, length], labels),
    places: int32([rows * scored], places),
    answers: int32([rows * scored], answers),
  };
  if (sourceLength === 0) return feeds;
  const source = new Int32Array(rows * sourceLength);
  const mask = new Float32Array(rows * sourceLength);
  for (let row = 0; row < rows; row++) {
    // Rows beyond the windows also read a text: otherwise their attention would have nothing to read.
    const tokens = (windows[row] ?? windows[0]).source ?? new Int32Array(0);
    source.set(tokens, row * sourceLength);
    mask.fill(1, row * sourceLength, row * sourceLength + tokens.length);
  }
  const shape = [rows, sourceLength];
  return { ...feeds, source: int32(shape, source), sourceMask: float32(shape, mask) };
}

/**
 * Hidden states [B,n,width] of tokens int32 [B,n] over whole windows; an encoder-decoder model also reads the inputs `source`
 * and `sourceMask` [B,m].
 */
export function windowHidden(
  model: GeneratingModel,
  parameters: ParameterSource,
  tokens: Value,
  sourceLength: number,
): Value {
  const shape = [tokens.shape[0], sourceLength];
  const read = (): EncoderInput => ({
    tokens: parameters.graph.input('source', 'int32', shape),
    mask: parameters.graph.input('sourceMask', 'float32', shape),
  });
  return wholeHidden(model, parameters, { tokens: () => tokens, read });
}

/**
 * Values of a batch's predictions, [B·n, …], and their labels [B·n]: only the scored ones, [B·A, …], if they are few. A head
 * over them is smaller by as much, and `compileWindows` assigns its results to their windows.
 */
export function scoredRows(
  graph: Graph,
  { rows, length, scored }: Pick<WindowBatch, 'rows' | 'length' | 'scored'>,
  values: readonly Value[],
): { readonly values: readonly Value[]; readonly labels: Value } {
  if (scored === 0) return { values, labels: reshape(graph.input('labels', 'int32', [rows, length]), [rows * length]) };
  const places = graph.input('places', 'int32', [rows * scored]);
  const labels = graph.input('answers', 'int32', [rows * scored]);
  return { values: values.map((value) => gather(value, places)), labels };
}

/** Parameters by name; those in files are read as `weights`. */
type WindowParameters = ReadonlyMap<string, Tensor | DeferredTensor<'float32'>>;

/** How to compile graphs over windows. */
export interface WindowGraphOptions extends CompileOptions {
  /** Padded tokens per run, at least one window. Default: 1024, fewer with a large vocabulary. */
  readonly batchTokens?: number;
  /** Parameters to read layer by layer, once for as many windows as their hidden states fit (`layeredWeights`). */
  readonly weights?: SegmentWeights;
}

/** Padded tokens per run if memory is no concern: enough rows for fast products. */
const mostBatchTokens = 1024;

/** Default padded tokens per run. */
export function usualBatchTokens(vocabulary: number): number {
  return Math.min(mostBatchTokens, Math.floor(mostLogits / vocabulary));
}

/** A graph's outputs by name, for one window's predictions. */
export interface WindowOutputs {
  readonly window: ScoredWindow;
  /** Index i belongs to token i + 1, the last ones to `others`; 0 for uncounted predictions that were left out. */
  readonly outputs: Readonly<Record<string, Float32Array>>;
}

function windowOutputs({ rows, length, windows }: WindowBatch, results: NamedTensors): WindowOutputs[] {
  return windows.map((window, row) => {
    const { tokens, scoredFrom, others = [] } = window;
    const ofWindow = ([name, value]: [string, Tensor]): [string, Float32Array] => {
      const data = dataOf(value, 'float32');
      const stride = data.length / rows;
      const predictions = tokens.length - 1;
      if (stride === length) return [name, data.slice(row * stride, row * stride + predictions)];
      const found = new Float32Array(predictions + others.length);
      found.set(data.subarray(row * stride, row * stride + predictionCount(window)), scoredFrom - 1);
      return [name, found];
    };
    return { window, outputs: Object.fromEntries(Object.entries(results).map(ofWindow)) };
  });
}

/** Windows' results, some at a time. */
export type WindowResults = AsyncGenerator<readonly WindowOutputs[], void, undefined>;

/** Compiled graphs over windows. Dispose of them. */
export type WindowGraphs = Awaited<ReturnType<typeof compileWindows>>;

/**
 * Compiles graphs over windows, one per batch shape, whose inputs are `batchFeeds` and parameters, and whose outputs have a
 * number for every prediction, [B,n] or [B·n], or for every one of `scoredRows`.
 */
export async function compileWindows(
  windows: readonly ScoredWindow[],
  graphOf: (batch: WindowBatch) => Graph,
  vocabulary: number,
  { batchTokens, weights, ...compileOptions }: WindowGraphOptions = {},
) {
  const batches: { readonly batch: WindowBatch; readonly program: WeightedProgram }[] = [];
  const programs = new Map<string, WeightedProgram>();
  const dispose = async (): Promise<void> => {
    for (const program of programs.values()) await program[Symbol.asyncDispose]();
  };
  try {
    for (const batch of windowBatches(windows, batchTokens ?? usualBatchTokens(vocabulary))) {
      const shape = `${batch.rows}x${batch.length}x${batch.sourceLength}x${batch.scored}`;
      const program = programs.get(shape) ?? (await compileWeighted(graphOf(batch), weights, compileOptions));
      programs.set(shape, program);
      batches.push({ batch, program });
    }
  } catch (error) {
    await dispose();
    throw error;
  }

  /** Runs batch by batch. @throws LinnetError like `runWeighted` */
  async function* run(parameters: WindowParameters, signal?: AbortSignal): WindowResults {
    const all = new Map([...residentTensors(parameters), ...(weights ?? [])]);
    const runs = batches.map(({ batch, program }) => ({ program, feeds: () => batchFeeds(batch) }));
    let done = 0;
    for await (const outputs of runWeighted(runs, all, signal)) yield windowOutputs(batches[done++].batch, outputs);
  }

  return {
    run,
    /** Runs all batches: a result per window, in order. @throws LinnetError like `run` */
    async map<T>(parameters: WindowParameters, result: (found: WindowOutputs) => T, signal?: AbortSignal) {
      const results = new Map<ScoredWindow, T>();
      for await (const batch of run(parameters, signal)) {
        for (const found of batch) results.set(found.window, result(found));
      }
      return windows.flatMap((window): T[] => {
        const found = results.get(window);
        return found === undefined ? [] : [found];
      });
    },
    /** One per batch shape. */
    programs: [...programs.values()],
    [Symbol.asyncDispose]: dispose,
  };
}
