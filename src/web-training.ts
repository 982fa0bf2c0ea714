/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Training in browsers: fine-tunes an exported folder's model in the page, decodes with the result, and shows its attention.
 * Separate from `linnet/web`, since it includes the graph compiler, which pages that only decode do not need. Nothing this file
 * reaches may need Node; a test enforces it.
 */
export {
  type PlannedTraining,
  type TextTrainingOptions,
  type TrainedParameters,
  trainOnTexts,
} from './browser/train-on-texts.ts';
export {
  type AttentionMaps,
  attentionMaps,
  type AttentionMapsOptions,
  type LayerMaps,
} from './models/graphs/attention-maps.ts';
export { compileForWeb } from './runtime/web-compile.ts';
export { openTrainable, type TrainableModel, trainedEngine, weightsFile } from './browser/trainable-model.ts';
export type { TrainingInput } from './training/settings.ts';
export type { UpdateEvent } from './training/updates.ts';
