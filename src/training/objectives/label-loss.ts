/** The cross-entropy of labels, smoothed if asked for. */
import type { Value } from '../../graph/graph.ts';
import { add, mul, sub } from '../../graph/ops/elementwise.ts';
import { gatherElements } from '../../graph/ops/indexing.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { mean } from '../../graph/ops/reduce.ts';
import { crossEntropy } from '../../graph/ops/softmax.ts';

/** How labels are taken. */
export interface LabelOptions {
  /** ε, share of each label that is spread evenly over all classes. Default 0. */
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
