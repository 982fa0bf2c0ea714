/**
 * Training in browsers: fine-tunes the model of an exported folder in the page, and decodes with what came out. Apart from
 * `linnet/web`, since it brings the graph compiler along, which pages that only decode do without. Nothing that this file
 * reaches may need Node; a test enforces it.
 */
export {
  type PlannedTraining,
  type TextTrainingOptions,
  type TrainedParameters,
  trainOnTexts,
} from './browser/train-on-texts.ts';
export { openTrainable, type TrainableModel, trainedEngine, weightsFile } from './browser/trainable-model.ts';
export type { TrainingInput } from './training/settings.ts';
export type { UpdateEvent } from './training/updates.ts';
