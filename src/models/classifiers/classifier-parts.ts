/** What a family says of its models as classifiers of texts: `classifier.ts` makes classifiers of it. */
import type { Value } from '../../graph/graph.ts';
import type { DeclaredParameters } from '../../nn/parameter-roles.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import type { Model } from '../model.ts';

/** Texts to be classified, padded at the end. */
export interface ClassifiedTexts {
  /** int32 [B,n] of static shape. */
  readonly tokens: Value;
  /** float32 [B,n]: 0 for padding. */
  readonly mask: Value;
  /** int32 [B]: the position of the last token of every text in its row, from 0. */
  readonly last: Value;
  /** int32 [B,n]: which of two texts a token belongs to; read by encoders alone. */
  readonly segments?: Value;
}

/** A model as a classifier: its backbone, and what takes the place of the head that predicts tokens. */
export interface ClassifierParts {
  /** The model of the backbone; its parameters that only predict tokens are left out. */
  readonly model: Model;
  /** What Hugging Face calls the class, before "ForSequenceClassification"; what it would be called for a family that is not there. */
  readonly className: string;
  /** The parameters that the backbone does not have. */
  readonly head: DeclaredParameters;
  /** Put before the names of stored parameters of the backbone, where the class holds the whole model under a name. */
  readonly storedPrefix?: string;
  /** Logits [B,classes]. */
  readonly logits: (source: ParameterSource, texts: ClassifiedTexts) => Value;
}
