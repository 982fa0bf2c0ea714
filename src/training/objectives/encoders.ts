/** Objectives of classifiers and of models with an encoder. */
import { labelledInputs } from '../../data/datasets/labelled.ts';
import type { Value } from '../../graph/graph.ts';
import { sum } from '../../graph/ops/contraction.ts';
import { mul, sub } from '../../graph/ops/elementwise.ts';
import { reshape } from '../../graph/ops/layout.ts';
import type { ClassifierModel } from '../../models/classifiers/classifier.ts';
import { type BatchValues, labelLoss, type LabelOptions, type Objective, tokenLoss } from './next-token.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import { maskedInputs } from '../../data/datasets/masked.ts';
import type { EncoderDecoderModel, EncoderModel } from '../../models/model.ts';
import { pairInputs, type PairLengths } from '../../data/datasets/sequence-pairs.ts';

/**
 * The loss of a batch of labels: their cross-entropy, or with a regression head (number − label)², as transformers has it.
 * Rows as `LabelledDataset` has them; segments are given to encoders alone.
 */
export function classificationObjective(
  classifier: ClassifierModel,
  length: number,
  options?: LabelOptions,
): Objective {
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

/** Rows as `maskedDocuments` has them. */
export function maskedObjective(model: EncoderModel, length: number, options?: LabelOptions): Objective {
  return {
    inputs: maskedInputs(length),
    loss(source, { tokens, mask, labels, weights }) {
      const hidden = model.encode(source, { tokens, mask }); // [B,n,width]
      return tokenLoss(model, source, hidden, { labels, weights }, options);
    },
  };
}

/** Rows as `PairDataset` has them: the decoder reads the target up to each token that it must predict. */
export function sequenceObjective(model: EncoderDecoderModel, lengths: PairLengths, options?: LabelOptions): Objective {
  return {
    inputs: pairInputs(lengths),
    loss(parameters, { labels, weights, ...pairs }) {
      return tokenLoss(model, parameters, pairHidden(model, parameters, pairs), { labels, weights }, options);
    },
  };
}

/** Hidden states of the decoder over the targets of a batch of pairs, [B,m,width]. */
export function pairHidden(
  model: EncoderDecoderModel,
  parameters: ParameterSource,
  { source, sourceMask, inputs }: BatchValues,
): Value {
  const encoded = model.encode(parameters, { tokens: source, mask: sourceMask }); // [B,n,width]
  return model.decode(parameters, { tokens: inputs, encoded, encodedMask: sourceMask });
}
