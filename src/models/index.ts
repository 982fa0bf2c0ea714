/** `linnet/models`: descriptions of models, their families, sizes and graphs (docs/families.md). */
export { type AttentionMaps, attentionMaps, type AttentionMapsOptions, type LayerMaps } from './attention-maps.ts';
export { bertClasses, bertClassifier, bertClassifierParameters, bertClassLogits } from './bert/classifier.ts';
export { bertShape, bertShapeNames } from './bert/shapes.ts';
export { classLogits, lastTokenRows, scoreParameters } from './classification.ts';
export { type ClassifiedTexts, type Classifier, classifier, describeClassifier } from './classifier.ts';
export { describeCausalModel, describeModel, type Model, requireCausal, supportedFamilies } from './families.ts';
export { type FlashConfig, type FlashConfigInput, paperFlashConfig, parseFlashConfig } from './flash/config.ts';
export { flashLogits, flashModel, flashParameters, initializeFlash } from './flash/model.ts';
export { gpt2Shape, gpt2ShapeNames } from './gpt2/shapes.ts';
export { initializeParameters } from './initialize.ts';
export { linearize } from './linearize.ts';
export { defaultParts, linearizeParts } from './linearize-parts.ts';
export type { AttentionPart } from './linnet-section.ts';
export { initializeMedusa, type MedusaConfig } from './medusa.ts';
export { MedusaHeads } from './medusa-heads.ts';
export type {
  AutoregressiveModel,
  CausalModel,
  EncoderDecoderModel,
  EncoderModel,
  GeneratingModel,
  ModelDescription,
  ModelSizes,
} from './model.ts';
export { parallelLogits } from './parallel-graph.ts';
export { modelPreset, modelPresetNames } from './presets.ts';
export { t5ClassLogits, t5ClassParameters } from './t5/classifier.ts';
export { t5Model } from './t5/model.ts';
export { t5Shape, t5ShapeNames } from './t5/shapes.ts';
