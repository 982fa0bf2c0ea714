/** `linnet/models`: descriptions of models, their families, sizes and graphs (docs/reference/families.md). */
export {
  type AttentionMaps,
  attentionMaps,
  type AttentionMapsOptions,
  type LayerMaps,
} from './graphs/attention-maps.ts';
export { bertClasses, bertClassifierParameters, bertClassLogits } from './families/bert/model.ts';
export { bertClassifier } from './families/bert/model.ts';
export { bertShape, bertShapeNames } from './presets/presets.ts';
export { classLogits, lastTokenRows, scoreParameters } from './classifiers/causal-classifier.ts';
export {
  type ClassifiedTexts,
  type ClassifierModel,
  classifier,
  describeClassifier,
} from './classifiers/classifier.ts';
export { describeCausalModel, describeModel, type Model, requireCausal, supportedFamilies } from './families/index.ts';
export {
  type FlashConfig,
  type FlashConfigInput,
  paperFlashConfig,
  parseFlashConfig,
} from './families/flash/config.ts';
export { flashLogits, flashModel, flashParameters, initializeFlash } from './families/flash/model.ts';
export { gpt2Shape, gpt2ShapeNames } from './presets/presets.ts';
export { initializeParameters } from './initialize.ts';
export { linearize } from './linearization/linearize.ts';
export { defaultParts, linearizeParts } from './linearization/linearize.ts';
export type { AttentionPart } from './config-fields.ts';
export { initializeMedusa, type MedusaConfig } from './medusa/medusa.ts';
export { MedusaHeads } from './medusa/medusa-heads.ts';
export type {
  AutoregressiveModel,
  CausalModel,
  EncoderDecoderModel,
  EncoderModel,
  GeneratingModel,
  ModelDescription,
  ModelSizes,
} from './model.ts';
export { parallelLogits } from './graphs/parallel-graph.ts';
export { modelPreset, modelPresetNames } from './presets/presets.ts';
export { t5ClassLogits, t5ClassParameters } from './families/t5/model.ts';
export { t5Model } from './families/t5/model.ts';
export { t5Shape, t5ShapeNames } from './presets/presets.ts';
