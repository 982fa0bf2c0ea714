/** Agreement of two models whose weights are at hand, by one graph over whole texts: shared weights are in memory once. */
import { type AnyParameter, layeredWeights } from '../../checkpoint/stored-parameter.ts';
import { graphCost } from '../../graph/cost.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { add, mul, sub } from '../../graph/ops/elementwise.ts';
import { gatherElements } from '../../graph/ops/indexing.ts';
import { concat, reshape, split } from '../../graph/ops/layout.ts';
import { max } from '../../graph/ops/reduce.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import type { CausalModel } from '../../models/model.ts';
import { InputParameters } from '../../nn/parameters.ts';
import { divergence, teacherSource, transferParameters } from '../../training/objectives/distillation.ts';
import { overPositions } from '../../training/objectives/next-token.ts';
import type { SegmentWeights } from '../../runtime/segmented-program.ts';
import { segmentedBytes } from '../../runtime/weighted-program.ts';
import type { MemoryForm } from '../../training/memory-form.ts';
import { runsLean } from '../../training/step-cost.ts';
import type { ScoredWindow } from '../perplexity/scored-windows.ts';
import type { RecallProbe } from '../recall/copy-recall.ts';
import {
  paddedLength,
  scoredRows,
  usualBatchTokens,
  type WindowBatch,
  type WindowGraphOptions,
  compileWindows,
  type WindowOutputs,
} from '../perplexity/window-batches.ts';
import { requireSameVocabulary, type TextAgreement } from './agreement.ts';
import type { RecallAnswer } from './recalled-answers.ts';

interface Weighted {
  readonly model: CausalModel;
  readonly parameters: ReadonlyMap<string, AnyParameter>;
}

type WeightOptions = WindowGraphOptions & { readonly signal?: AbortSignal };

/**
 * Compares two models like `textAgreement`; layer by layer if parameters are in files.
 * @throws LinnetError `MISMATCH` for vocabularies of different sizes, `ABORTED` when the signal fires between two batches
 */
export async function weightAgreement(
  original: Weighted,
  other: Weighted,
  texts: readonly ScoredWindow[],
  options?: WeightOptions,
): Promise<TextAgreement[]> {
  return await compareWindows(
    original,
    other,
    texts,
    options,
    ({ window: { scoredFrom }, outputs: { choice, kl } }) => ({
      same: Array.from(choice.subarray(scoredFrom - 1), (gap) => gap === 0),
      kl: Array.from(kl.subarray(scoredFrom - 1), (value) => Math.max(0, value)),
    }),
  );
}

/** Two models' answers to probes; `recalledAnswers` gives one model's. @throws LinnetError like `weightAgreement` */
export async function weightRecall(
  original: Weighted,
  other: Weighted,
  probes: readonly RecallProbe[],
  options?: WeightOptions,
): Promise<{ readonly original: RecallAnswer[]; readonly other: RecallAnswer[] }> {
  const right = await compareWindows(original, other, probes, options, ({ window: { scoredFrom }, outputs }) =>
    [outputs.first, outputs.second].map((gaps) => gaps.subarray(scoredFrom - 1).filter((gap) => gap === 0).length),
  );
  const answersOf = (model: number): RecallAnswer[] =>
    probes.map(({ distance, tokens, scoredFrom }, i) => {
      return { distance, right: right[i][model], scored: tokens.length - scoredFrom };
    });
  return { original: answersOf(0), other: answersOf(1) };
}

async function compareWindows<T>(
  original: Weighted,
  other: Weighted,
  windows: readonly ScoredWindow[],
  { signal, ...options }: WeightOptions = {},
  result: (found: WindowOutputs) => T,
): Promise<T[]> {
  const own = [...original.parameters].filter(([name, value]) => !isSameParameter(value, other.parameters.get(name)));
  const names = new Set(own.map(([name]) => name));
  const parameters = transferParameters(other, original.parameters, names);
  const { vocabulary } = original.model.sizes;
  const lean = runsLean(original.model.parameters, options.device);
  const graphOf = (batch: WindowBatch): Graph => agreementGraph(original.model, other.model, names, batch);
  const weights = layeredWeights(parameters);
  await using graphs = await compileWindows(windows, graphOf, vocabulary, { lean, weights, ...options });
  return await graphs.map(parameters, result, signal);
}

/** Whether two parameters have the same numbers, judged by their places. */
function isSameParameter(one: AnyParameter | undefined, other: AnyParameter | undefined): boolean {
  return one === other || (one && other && 'data' in one && 'data' in other && one.data === other.data) === true;
}

/**
 * Memory of such a comparison, without a whole graph's weights.
 * @param texts their number, and tokens in each
 * @param weights parameters as they would be read
 * @param names of the original's parameters whose numbers differ in the other. Default: none
 */
export function agreementMemory(
  original: CausalModel,
  other: CausalModel,
  texts: { readonly count: number; readonly length: number },
  weights: SegmentWeights,
  names: ReadonlySet<string> = new Set(),
): Record<MemoryForm, number> {
  const length = paddedLength(texts.length);
  const rows = Math.max(1, Math.floor(usualBatchTokens(original.sizes.vocabulary) / length));
  const graph = agreementGraph(original, other, names, { rows, length, scored: 0 });
  return { whole: graphCost(graph).peakBytes, layers: segmentedBytes(graph, weights, texts.count / rows) };
}

/**
 * Factor on a token's distance below the original's choice: it exceeds all logits, so that a maximum picks the choice's
 * logit.
 */
const steep = 1e30;

/**
 * `inputs` int32 [B,n], inputs of `scoredRows` and the parameters → four numbers per prediction: `kl`; `choice`, the other
 * model's largest logit minus its logit for the original's choice; `first` and `second`, each model's largest logit minus its
 * logit for the label.
 */
function agreementGraph(
  original: CausalModel,
  other: CausalModel,
  names: ReadonlySet<string>,
  batch: Pick<WindowBatch, 'rows' | 'length' | 'scored'>,
): Graph {
  requireSameVocabulary(original, other);
  const { rows, length } = batch;
  const graph = new Graph(`agreement ${rows}x${length}`);
  const inputs = graph.input('inputs', 'int32', [rows, length]);
  const source = new InputParameters(graph);
  const first = teacherSource(source, other, names);
  const hidden = [parallelHidden(original, first, inputs), parallelHidden(other, source, inputs)] // [B,n,width]
    .map((value) => reshape(value, [rows * length, value.shape[2]]));
  const { values, labels } = scoredRows(graph, batch, hidden);
  const flat = [...values, reshape(labels, [...labels.shape, 1])];
  // Two models have logits at every position.
  const blocks = overPositions(flat, 2 * original.sizes.vocabulary, ([target, features, label]) => {
    const [exact, logits] = [original.head(first, target), other.head(source, features)]; // [positions,V]
    const [best, most] = [exact, logits].map((values) => max(values, [1], true)); // [positions,1]
    const chosen = max(add(logits, mul(sub(exact, best), steep)), [1], true);
    const kl = reshape(divergence(exact, logits), best.shape);
    const above = (largest: Value, values: Value): Value => sub(largest, gatherElements(values, label, 1));
    return concat([kl, sub(most, chosen), above(best, exact), above(most, logits)], 1); // [positions,4]
  });
  const parts = split(concat(blocks, 0), 1, [1, 1, 1, 1]);
  for (const [index, name] of ['kl', 'choice', 'first', 'second'].entries()) {
    graph.output(name, reshape(parts[index], labels.shape));
  }
  return graph;
}
