/** Training a classifier: the cross-entropy of the label of each text. */
import { labelledInputs } from '../../data/labelled.ts';
import { mul } from '../../graph/ops/elementwise.ts';
import { sum } from '../../graph/ops/reduce.ts';
import type { Classifier } from '../../models/classifier.ts';
import { labelLoss, type LabelOptions } from './label-loss.ts';
import type { Objective } from './next-token.ts';

/**
 * Rows as `LabelledDataset` has them; segments are given to encoders alone.
 * @example
 * ```ts
 * const objective = classificationObjective(classifier, 128);
 * ```
 */
export function classificationObjective(classifier: Classifier, length: number, options?: LabelOptions): Objective {
  const { segments, ...inputs } = labelledInputs(length);
  const readsSegments = classifier.model.kind === 'encoder';
  return {
    inputs: readsSegments ? { ...inputs, segments } : inputs,
    loss(source, { tokens, mask, last, label, weights, segments: given }) {
      const logits = classifier.classLogits(source, { tokens, mask, last, segments: given }); // [B,classes]
      return sum(mul(labelLoss(logits, label, options), weights));
    },
  };
}
