/**
 * `linnet/training`: the training loop, its objectives, settings, low-rank adaptation (docs/training.md, docs/lora.md).
 */
export { classificationObjective } from './objectives/classification.ts';
export { maskedObjective } from './objectives/masked.ts';
export {
  type MedusaJob,
  medusaObjective,
  type MedusaOutcome,
  type MedusaTraining,
  trainMedusa,
} from './objectives/medusa.ts';
export {
  type BatchValues,
  causalObjective,
  nextTokenLoss,
  type NextTokenValues,
  type Objective,
  tokenLoss,
} from './objectives/next-token.ts';
export { sequenceObjective } from './objectives/sequence-to-sequence.ts';
export { parseTrainingSettings, type TrainingInput, type TrainingSettings } from './settings.ts';
export { type RowFeature, train, type TrainingJob, type TrainingOutcome, type UpdateEvent } from './trainer.ts';
