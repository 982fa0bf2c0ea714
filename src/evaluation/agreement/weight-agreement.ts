/** Agreement of two models whose weights are at hand, by one graph over whole texts: weights that both share are in memory once. */
import { type AnyParameter, layeredWeights } from '../../checkpoint/stored-parameter.ts';
import { graphCost } from '../../graph/cost.ts';
import { Graph } from '../../graph/graph.ts';
import { sub } from '../../graph/ops/elementwise.ts';
import { gatherElements } from '../../graph/ops/indexing.ts';
import { concat, reshape, split } from '../../graph/ops/layout.ts';
import { max } from '../../graph/ops/reduce.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import type { CausalModel } from '../../models/model.ts';
import { InputParameters } from '../../nn/parameters.ts';
import { divergence, teacherSource, transferParameters } from '../../training/objectives/distillation.ts';
import { overPositions } from '../../training/objectives/next-token.ts';
import type { SegmentWeights } from '../../runtime/segmented-program.ts';
import type { MemoryForm } from '../../training/memory-form.ts';
import { runsLean } from '../../training/step-cost.ts';
import type { ScoredWindow } from '../perplexity/scored-windows.ts';
import {
  paddedLength,
  usualBatchTokens,
  type WindowBatch,
  type WindowGraphOptions,
  WindowGraphs,
  type WindowOutputs,
  windowSegmentBytes,
} from '../perplexity/window-batches.ts';
import { requireSameVocabulary, type TextAgreement } from './agreement.ts';

interface Weighted {
  readonly model: CausalModel;
  readonly parameters: ReadonlyMap<string, AnyParameter>;
}

/**
 * Compares two models that differ in their mixers, as `textAgreement` does; layer by layer where parameters are in files.
 * @param texts greedy continuations by the original (`greedyTexts`)
 * @throws LinnetError `MISMATCH` for vocabularies of different sizes, `ABORTED` when the signal fires between two batches
 */
export async function weightAgreement(
  original: Weighted,
  other: Weighted,
  texts: readonly ScoredWindow[],
  { signal, ...options }: WindowGraphOptions & { readonly signal?: AbortSignal } = {},
): Promise<TextAgreement[]> {
  requireSameVocabulary(original.model, other.model);
  const isOwn = (name: string): boolean => !isSameParameter(original.parameters.get(name), other.parameters.get(name));
  const names = new Set([...original.parameters.keys()].filter(isOwn));
  const parameters = transferParameters(other, original.parameters, names);
  const { vocabulary } = original.model.sizes;
  const lean = runsLean(original.model.parameters, options.device);
  const graphOf = (batch: WindowBatch): Graph => agreementGraph(original.model, other.model, names, batch);
  const weights = layeredWeights(parameters);
  await using graphs = await WindowGraphs.create(texts, graphOf, vocabulary, { lean, weights, ...options });
  const agreement = ({ window: { scoredFrom }, outputs: { gap, kl } }: WindowOutputs): TextAgreement => ({
    same: Array.from(gap.subarray(scoredFrom - 1), (value) => value === 0),
    kl: Array.from(kl.subarray(scoredFrom - 1), (value) => Math.max(0, value)),
  });
  return await graphs.map(parameters, agreement, signal);
}

/** Whether two parameters have the same numbers, as far as their places tell. */
function isSameParameter(one: AnyParameter | undefined, other: AnyParameter | undefined): boolean {
  return one === other || (one && other && 'data' in one && 'data' in other && one.data === other.data) === true;
}

/**
 * Memory of such a comparison, without the weights of a whole graph.
 * @param texts how many, and tokens of each
 * @param weights parameters as they would be read
 */
export function agreementMemory(
  original: CausalModel,
  other: CausalModel,
  texts: { readonly count: number; readonly length: number },
  weights: SegmentWeights,
): Record<MemoryForm, number> {
  const length = paddedLength(texts.length);
  const rows = Math.max(1, Math.floor(usualBatchTokens(original.sizes.vocabulary) / length));
  const graph = agreementGraph(original, other, new Set(), { rows, length });
  return { whole: graphCost(graph).peakBytes, layers: windowSegmentBytes(graph, weights, texts.count / rows) };
}

/**
 * `inputs` and `labels` int32 [B,n] and the parameters → `kl` [B·n], and `gap` [B·n], the other model's largest logit less that
 * of the label, which is the original's choice.
 */
function agreementGraph(
  original: CausalModel,
  other: CausalModel,
  names: ReadonlySet<string>,
  { rows, length }: Pick<WindowBatch, 'rows' | 'length'>,
): Graph {
  const graph = new Graph(`agreement ${rows}x${length}`);
  const inputs = graph.input('inputs', 'int32', [rows, length]);
  const labels = graph.input('labels', 'int32', [rows, length]);
  const source = new InputParameters(graph);
  const first = teacherSource(source, other, names);
  const hidden = [parallelHidden(original, first, inputs), parallelHidden(other, source, inputs)] // [B,n,width]
    .map((value) => reshape(value, [rows * length, original.sizes.width]));
  const flat = [...hidden, reshape(labels, [rows * length, 1])];
  // Two models have logits at every position.
  const pairs = overPositions(flat, 2 * original.sizes.vocabulary, ([target, features, label]) => {
    const logits = other.head(source, features); // [positions,V]
    const gap = sub(max(logits, [1], true), gatherElements(logits, label, 1)); // [positions,1]
    const kl = divergence(original.head(first, target), logits);
    return concat([reshape(kl, gap.shape), gap], 1); // [positions,2]
  });
  const both = concat(pairs, 0); // [B*n,2]
  const [kl, gap] = split(both, 1, [1, 1]);
  graph.output('kl', reshape(kl, [rows * length]));
  graph.output('gap', reshape(gap, [rows * length]));
  return graph;
}
