/** Text classification with BERT: tanh pooler and linear classifier on the first token, `BertForSequenceClassification`. */
import type { Value } from '../../../graph/graph.ts';
import { reshape, slice } from '../../../graph/ops/layout.ts';
import { tanh } from '../../../graph/ops/elementwise.ts';
import { biasedLinear } from '../../../nn/linear.ts';
import type { DeclaredParameters } from '../../../nn/parameter-roles.ts';
import type { ParameterSource } from '../../../nn/parameters.ts';
import type { EncoderInput, EncoderModel } from '../../model.ts';
import { classifierName, classifierParameters, poolerName } from './parameters.ts';

/** The parameters of pooler and classifier. A model made by `bertClassifier` has them among its parameters. */
export function bertClassifierParameters(model: EncoderModel, classes: number): DeclaredParameters {
  return classifierParameters(model.sizes.width, classes);
}

/** Number of classes of a model that is a classifier; undefined for one with another head. */
export function bertClasses(model: EncoderModel): number | undefined {
  return model.parameters.get(`${classifierName}.weight`)?.shape[0];
}

/** Logits of the classes [B,classes]. */
export function bertClassLogits(
  model: EncoderModel,
  source: ParameterSource,
  input: EncoderInput,
  classes: number,
): Value {
  const { width } = model.sizes;
  const first = slice(model.encode(source, input), 1, 0, 1); // [B,1,width]
  const pooled = tanh(biasedLinear(source, poolerName, reshape(first, [first.shape[0], width]), width, width));
  return biasedLinear(source, classifierName, pooled, width, classes);
}
