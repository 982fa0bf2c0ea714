/** How good a classifier is: its classes against the right ones, or the numbers of a regression head. */
import type { LabelledDataset } from '../../data/datasets/labelled.ts';
import { LinnetError } from '../../errors.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Classifier } from '../../models/classifiers/classifier.ts';
import { type AccuracyOptions, argmax, classifierOutputs } from './classifier-outputs.ts';
import { type AccuracyResult, classQuality, numberQuality, type RegressionResult } from './metrics/quality.ts';

/**
 * Classifies every row of a data set once. Among equal logits the first class counts.
 * @throws LinnetError `ABORTED` when the signal fires between two batches; `MISMATCH` for a regression head
 * @example
 * ```ts
 * const { accuracy: share, classes } = await accuracy(classifier, parameters, dataset);
 * ```
 */
export async function accuracy(
  classifier: Classifier,
  parameters: ReadonlyMap<string, Tensor>,
  dataset: LabelledDataset,
  options: AccuracyOptions = {},
): Promise<AccuracyResult> {
  if (classifier.isRegression || dataset.labels === undefined) {
    throw new LinnetError(
      'MISMATCH',
      'a regression head, or data with numbers, has no accuracy; ask for its regression',
    );
  }
  const gold: number[] = [];
  const predicted: number[] = [];
  await classifierOutputs(classifier, parameters, dataset, options, (logits, label) => {
    gold.push(label);
    predicted.push(argmax(logits));
  });
  return classQuality(classifier.labels, gold, predicted);
}

/**
 * The numbers of a regression head against the labels of a data set, which was made with `labels: undefined`.
 * @throws LinnetError `ABORTED` when the signal fires between two batches; `MISMATCH` for a classifier
 * @example
 * ```ts
 * const { pearson, spearman } = await regression(classifier, parameters, dataset);
 * ```
 */
export async function regression(
  classifier: Classifier,
  parameters: ReadonlyMap<string, Tensor>,
  dataset: LabelledDataset,
  options: AccuracyOptions = {},
): Promise<RegressionResult> {
  if (!classifier.isRegression || dataset.labels !== undefined) {
    throw new LinnetError(
      'MISMATCH',
      'a model with classes, or data with labels, has no regression; ask for its accuracy',
    );
  }
  const gold: number[] = [];
  const predicted: number[] = [];
  await classifierOutputs(classifier, parameters, dataset, options, ([value], label) => {
    gold.push(label);
    predicted.push(value);
  });
  return numberQuality(gold, predicted);
}
