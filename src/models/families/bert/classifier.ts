/** Text classification with an encoder: a linear layer, its activation and a linear classifier on the first token. */
import type { Value } from '../../../graph/graph.ts';
import { reshape, slice } from '../../../graph/ops/layout.ts';
import { biasedLinear } from '../../../nn/linear.ts';
import type { DeclaredParameters } from '../../../nn/parameter-roles.ts';
import type { ParameterSource } from '../../../nn/parameters.ts';
import type { EncoderInput, EncoderModel } from '../../model.ts';
import { activations } from '../activations.ts';
import { classifierParameters } from './parameters.ts';
import { encoderVariant } from './variants.ts';

/** The parameters of the classifier, of BERT with its pooler. A model made by `bertClassifier` has them among its parameters. */
export function bertClassifierParameters(model: EncoderModel, classes: number): DeclaredParameters {
  return classifierParameters(encoderVariant(model.family), model.sizes.width, classes);
}

/** Number of classes of a model that is a classifier; undefined for one with another head. */
export function bertClasses({ family, parameters }: EncoderModel): number | undefined {
  return parameters.get(`${encoderVariant(family).classHead.classes}.weight`)?.shape[0];
}

/** Logits of the classes [B,classes]. */
export function bertClassLogits(
  model: EncoderModel,
  source: ParameterSource,
  input: EncoderInput,
  classes: number,
): Value {
  const { width } = model.sizes;
  const { dense, activation, classes: last } = encoderVariant(model.family).classHead;
  const first = slice(model.encode(source, input), 1, 0, 1); // [B,1,width]
  const inner = biasedLinear(source, dense, reshape(first, [first.shape[0], width]), width);
  return biasedLinear(source, last, activations[activation](inner), classes);
}
