/**
 * How well Medusa heads guess: the rank of the token that really came among each head's guesses, at every position of a
 * text. Accuracy, acceptance by rank and the frequency of whole paths all follow from these ranks.
 */
import { LinnetError } from '../../errors.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { sum } from '../../graph/ops/contraction.ts';
import { cast, greater } from '../../graph/ops/elementwise.ts';
import { dataOf, type Tensor } from '../../graph/tensor.ts';
import { gatherElements } from '../../graph/ops/indexing.ts';
import { pad, reshape, slice } from '../../graph/ops/layout.ts';
import { headLogits, type MedusaConfig } from '../../models/medusa/medusa.ts';
import type { GeneratingModel } from '../../models/model.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import { type ParameterSource, WeightParameters } from '../../nn/parameters.ts';
import { compile, type CompileOptions, type Program } from '../../runtime/compile.ts';
import type { ScoredWindow } from '../perplexity/scored-windows.ts';
import {
  batchTensors,
  paddedSourceLength,
  sourceTensors,
  type WindowBatch,
  windowBatches,
} from '../perplexity/window-batches.ts';

/** Ranks at positions t whose token t + 1 is scored, in the order of the windows. */
export interface HeadRanks {
  /** H. */
  readonly heads: number;
  readonly positions: number;
  /** [positions,H]: tokens that head i held more likely than token t + 2 + i; −1 where the text ends before that. */
  readonly ranks: Int32Array;
}

export interface HeadRankOptions extends CompileOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (windows: number, total: number) => void;
}

/** Logits of a run, in numbers: 128 MiB. */
const mostLogits = 1 << 25;
const mostBatchTokens = 1024;

/**
 * Runs model and heads over windows of a text.
 * @param parameters of the model and of the heads
 * @param windows of an encoder-decoder model: with the text that is read before each
 * @throws LinnetError `INPUT` if no window reaches beyond the first head, `ABORTED` when the signal fires
 */
export async function headRanks(
  model: GeneratingModel,
  medusa: MedusaConfig,
  parameters: ReadonlyMap<string, Tensor>,
  windows: readonly ScoredWindow[],
  { signal, onProgress, ...compileOptions }: HeadRankOptions = {},
): Promise<HeadRanks> {
  if (model.kind !== 'causal' && windows.some(({ source }) => source === undefined)) {
    throw new LinnetError(
      'INPUT',
      `heads of a ${model.family} model are measured on texts with what it reads before them`,
    );
  }
  const usable = windows.filter(({ tokens, scoredFrom }) => tokens.length > scoredFrom + 1);
  if (usable.length === 0) throw new LinnetError('INPUT', 'the text is too short to measure Medusa heads on');
  const batchTokens = Math.min(mostBatchTokens, Math.floor(mostLogits / model.sizes.vocabulary));
  const found: number[] = [];
  const programs = new Map<string, Program>();
  let done = 0;
  try {
    for (const batch of windowBatches(usable, batchTokens)) {
      if (signal?.aborted === true) throw new LinnetError('ABORTED', 'stopped while measuring Medusa heads');
      const shape = `${batch.rows}x${batch.length}x${paddedSourceLength(batch)}`;
      const program =
        programs.get(shape) ?? (await compile(rankGraph(model, medusa, parameters, batch), compileOptions));
      programs.set(shape, program);
      const names = Array.from({ length: medusa.heads }, (_, head) => `ranks.${head}`);
      const sources = model.kind === 'causal' ? {} : sourceTensors(batch);
      const results = await program.run({ ...batchTensors(batch), ...sources }, names);
      collectRanks(
        batch,
        names.map((name) => dataOf(results[name], 'float32')),
        found,
      );
      done += batch.windows.length;
      onProgress?.(done, usable.length);
    }
  } finally {
    for (const program of programs.values()) await program.dispose();
  }
  return { heads: medusa.heads, positions: found.length / medusa.heads, ranks: Int32Array.from(found) };
}

/** `inputs` and `labels` int32 [B,n] → `ranks.i` [B,n] of every head: how many tokens it held more likely. */
function rankGraph(
  model: GeneratingModel,
  medusa: MedusaConfig,
  parameters: ReadonlyMap<string, Tensor>,
  batch: WindowBatch,
): Graph {
  const { rows, length } = batch;
  const graph = new Graph(`medusa ranks ${rows}x${length}`);
  const inputs = graph.input('inputs', 'int32', [rows, length]);
  const labels = graph.input('labels', 'int32', [rows, length]);
  const source = new WeightParameters(graph, parameters);
  const hidden = hiddenStates(model, source, inputs, paddedSourceLength(batch)); // [B,n,width]
  for (let head = 0; head < medusa.heads; head++) {
    const offset = head + 1;
    const count = rows * (length - offset);
    const states = reshape(slice(hidden, 1, 0, length - offset), [count, model.sizes.width]);
    const logits = headLogits(medusa, model.sizes, source, head, states); // [count,V]
    const truth = gatherElements(logits, reshape(slice(labels, 1, offset, length), [count, 1]), 1); // [count,1]
    const ranks = sum(cast(greater(logits, truth), 'float32'), [1]); // [count]
    graph.output(`ranks.${head}`, pad(reshape(ranks, [rows, length - offset]), 1, 0, offset)); // [B,n]
  }
  return graph;
}

/** Hidden states [B,n,width] of the tokens; an encoder-decoder model reads its inputs `source` and `sourceMask` besides. */
function hiddenStates(model: GeneratingModel, parameters: ParameterSource, tokens: Value, sourceLength: number): Value {
  if (model.kind === 'causal') return parallelHidden(model, parameters, tokens);
  const B = Number(tokens.shape[0]);
  const source = parameters.graph.input('source', 'int32', [B, sourceLength]);
  const encodedMask = parameters.graph.input('sourceMask', 'float32', [B, sourceLength]);
  const encoded = model.encode(parameters, { tokens: source, mask: encodedMask }); // [B,m,width]
  return model.decode(parameters, { tokens, encoded, encodedMask });
}

/** Appends the ranks of a batch's scored positions, [positions,H]. */
function collectRanks({ length, windows }: WindowBatch, ranks: readonly Float32Array[], target: number[]): void {
  windows.forEach(({ tokens, scoredFrom }, row) => {
    for (let t = scoredFrom - 1; t + 2 < tokens.length; t++) {
      ranks.forEach((values, head) => target.push(t + 2 + head < tokens.length ? values[row * length + t] : -1));
    }
  });
}

/**
 * Share of tokens within the most likely 1, 2, …, `k` of every head: [H][k]. A head that met no token has none.
 */
export function topAccuracy({ heads, positions, ranks }: HeadRanks, k: number): number[][] {
  return Array.from({ length: heads }, (_, head) => {
    const counts = new Array<number>(k).fill(0);
    let total = 0;
    for (let position = 0; position < positions; position++) {
      const rank = ranks[position * heads + head];
      if (rank < 0) continue;
      total++;
      if (rank < k) counts[rank]++;
    }
    let within = 0;
    return total === 0 ? [] : counts.map((count) => (within += count) / total);
  });
}

/** Share of tokens at rank 0, 1, …, `k` − 1 of every head: [H][k], the independence model of `tree-search.ts`. */
export function acceptanceByRank(ranks: HeadRanks, k: number): number[][] {
  return topAccuracy(ranks, k).map((within) =>
    within.map((share, rank) => share - (rank === 0 ? 0 : within[rank - 1])),
  );
}
