/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Training in browsers: fine-tunes the model of an exported folder in the page, decodes with the result, and looks at its
 * attention. Apart from `linnet/web`, since it brings the graph compiler along, which pages that only decode do without. Nothing that this file
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
