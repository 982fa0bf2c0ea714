/** Training a classifier: the cross-entropy of the label of each text, or the squared error of its number. */
import { labelledInputs } from '../../data/datasets/labelled.ts';
import type { Value } from '../../graph/graph.ts';
import { sum } from '../../graph/ops/contraction.ts';
import { mul, sub } from '../../graph/ops/elementwise.ts';
import { reshape } from '../../graph/ops/layout.ts';
import type { Classifier } from '../../models/classifiers/classifier.ts';
import { labelLoss, type LabelOptions } from './label-loss.ts';
import type { Objective } from './next-token.ts';

/**
 * The loss of a batch of labels: their cross-entropy, or with a regression head (number − label)², as transformers has it.
 * Rows as `LabelledDataset` has them; segments are given to encoders alone.
 */
export function classificationObjective(classifier: Classifier, length: number, options?: LabelOptions): Objective {
  const { isRegression } = classifier;
  const { segments, ...inputs } = labelledInputs(length, isRegression ? 'float32' : 'int32');
  const readsSegments = classifier.model.kind === 'encoder';
  return {
    inputs: readsSegments ? { ...inputs, segments } : inputs,
    loss(source, { tokens, mask, last, label, weights, segments: given }) {
      const logits = classifier.classLogits(source, { tokens, mask, last, segments: given }); // [B,classes]
      const losses = isRegression ? squaredErrors(logits, label) : labelLoss(logits, label, options); // [B]
      return sum(mul(losses, weights));
    },
  };
}

/** (prediction − target)² per row. @param predictions [B,1] @param targets float32 [B] */
function squaredErrors(predictions: Value, targets: Value): Value {
  const difference = sub(reshape(predictions, targets.shape.map(Number)), targets);
  return mul(difference, difference);
}
