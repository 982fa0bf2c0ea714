/** Training objectives: the interface, the cross-entropy of labels, and next-token prediction. */
import { packedInputs } from '../../data/datasets/packed-rows.ts';
import type { RowInputs } from '../../data/rows/row-dataset.ts';
import { mostLogits } from '../../decoding/log-sum-exp.ts';
import type { Value } from '../../graph/graph.ts';
import { sum } from '../../graph/ops/contraction.ts';
import { add, addAll, mul, sub } from '../../graph/ops/elementwise.ts';
import { reshape, split } from '../../graph/ops/layout.ts';
import type { CausalModel } from '../../models/model.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import { gatherElements } from '../../graph/ops/indexing.ts';
import { crossEntropy } from '../../graph/ops/normalization.ts';
import { mean } from '../../graph/ops/reduce.ts';
import { gradientAfter } from '../../graph/ops/surrogate-gradient.ts';
import { requireLength } from '../settings.ts';

// Losses over positions, by blocks: of a large vocabulary the logits [T,V] are the largest tensors of a step.

/** Positions of a block are a multiple of this, at least one. */
const blockStep = 16;

/**
 * Values of positions, block by block.
 * @param values tensors [positions, …], cut along their first axis
 * @param most logits of a block; default 2²⁵
 */
export function overPositions(
  values: readonly Value[],
  vocabulary: number,
  make: (values: readonly Value[]) => Value,
  most = mostLogits,
): Value[] {
  const positions = Number(values[0].shape[0]);
  const size = Math.max(1, Math.floor(most / vocabulary / blockStep)) * blockStep;
  const sizes = Array.from({ length: Math.ceil(positions / size) }, (_, i) => Math.min(size, positions - i * size));
  const blocks = values.map((value) => split(value, 0, sizes));
  return sizes.map((_, i) => make(blocks.map((parts) => parts[i])));
}

/** The sum of a loss over positions, forward and backward block by block; parameters as of `overPositions`. */
export function sumOverPositions(...[values, vocabulary, lossOf, most]: Parameters<typeof overPositions>): Value {
  const sums = overPositions(values, vocabulary, lossOf, most);
  return addAll(sums.length === 1 ? sums : sums.map((sum) => gradientAfter(sum)));
}

/** A batch as graph inputs, by the names of `Objective.inputs`. */
export type BatchValues = Readonly<Record<string, Value>>;

/** The name of the input whose sum a loss is divided by: the weight of every prediction, 0 on padding. */
export const weightsInput = 'weights';

/** The loss to minimize, made for one model and one length of rows. */
export interface Objective {
  /** Its inputs from a batch; `weights` is among them. */
  readonly inputs: RowInputs;
  /**
   * The sum over the batch, weighted by `weights`, a scalar; the trainer divides it by the sum of the weights.
   * @param source parameters of the model
   */
  readonly loss: (source: ParameterSource, batch: BatchValues) => Value;
}

/** A batch of next-token training. */
export interface NextTokenValues {
  /** int32 [B,n]: tokens the model reads. */
  readonly inputs: Value;
  /** int32 [B,n]: the token that follows each. */
  readonly labels: Value;
  /** float32 [B,n]: weight of each prediction, 0 on padding. */
  readonly weights: Value;
}

/** The next token of rows of `length` predictions, as `PackedDataset` has them. @throws OptionsError if the model reads fewer */
export function causalObjective(model: CausalModel, length: number, options?: LabelOptions): Objective {
  requireLength(length, model.positions.limit);
  return {
    inputs: packedInputs(length),
    loss: (source, { inputs, labels, weights }) => nextTokenLoss(model, source, { inputs, labels, weights }, options),
  };
}

/** Σ −log p(label) · weight over a batch, in nats: a scalar. Divide by the sum of weights for the mean. */
export function nextTokenLoss(
  model: CausalModel,
  source: ParameterSource,
  batch: NextTokenValues,
  options?: LabelOptions,
): Value {
  const hidden = parallelHidden(model, source, batch.inputs); // [B,n,width]
  return tokenLoss(model, source, hidden, batch, options);
}

type TokenHead = Pick<CausalModel, 'head' | 'sizes'>;

/**
 * Σ −log p(label) · weight over positions, in nats: a scalar.
 *
 * @param hidden [B,n,width]; labels and weights are [B,n]
 * @example
 * ```ts
 * declare const batch: Parameters<typeof tokenLoss>[3];
 * const loss = tokenLoss(model, source, hidden, batch);
 * ```
 */
export function tokenLoss(
  model: TokenHead,
  source: ParameterSource,
  hidden: Value,
  { labels, weights }: Pick<NextTokenValues, 'labels' | 'weights'>,
  options?: LabelOptions,
): Value {
  const rows = Number(labels.shape[0]) * Number(labels.shape[1]);
  const flat = [reshape(hidden, [rows, model.sizes.width]), reshape(labels, [rows]), reshape(weights, [rows])];
  return sumOverPositions(flat, model.sizes.vocabulary, ([features, label, weight]) =>
    sum(mul(labelLoss(model.head(source, features), label, options), weight)),
  );
}

/** How labels are taken. */
export interface LabelOptions {
  /** ε, share of each label spread evenly over all classes. Default 0. */
  readonly labelSmoothing?: number;
}

/**
 * Cross-entropy against (1 − ε)·onehot(label) + ε/V (Szegedy et al., arXiv 1512.00567, section 7), per row:
 *
 *     −(1 − ε) log p_label − ε · mean_v log p_v  =  −log p_label + ε (z_label − mean_v z_v),   z the logits
 *
 * @param logits [rows,V]
 * @param labels int32 [rows]
 * @returns float32 [rows], in nats
 */
export function labelLoss(logits: Value, labels: Value, { labelSmoothing: smoothing = 0 }: LabelOptions = {}): Value {
  const loss = crossEntropy(logits, labels);
  if (smoothing === 0) return loss;
  const [rows] = labels.shape.map(Number);
  const chosen = reshape(gatherElements(logits, reshape(labels, [rows, 1]), 1), [rows]);
  return add(loss, mul(sub(chosen, mean(logits, [1])), smoothing));
}
