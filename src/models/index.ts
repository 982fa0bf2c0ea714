/** `linnet/models`: descriptions of models, their families, sizes and graphs (docs/reference/families.md). */
export {
  type AttentionMaps,
  attentionMaps,
  type AttentionMapsOptions,
  type LayerMaps,
} from './graphs/attention-maps.ts';
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
  parseFlashConfig,
} from './families/flash/config.ts';
export { flashLogits, flashModel, flashParameters } from './families/flash/model.ts';
export { initializeParameters } from './initialize.ts';
export { defaultParts, linearize } from './linearization/linearize.ts';
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
export {
  encoderShapeNames,
  modelPreset,
  modelPresetNames,
  publishedShape,
  publishedShapeNames,
} from './presets/presets.ts';
export { t5Model } from './families/t5/model.ts';
