/** `linnet/training`: the training commands as functions with plain options (docs/train.md), and their parts. */
export { type LoraChoice, loraOf, parseLoraChoice, trainLora, type WholeGroup, wholeParameters } from './lora.ts';
export { classificationObjective } from './objectives/encoders.ts';
export {
  transferObjective,
  transferParameters,
  transferredLayers,
  transferredParameters,
} from './objectives/distillation.ts';
export { labelLoss, type LabelOptions } from './objectives/next-token.ts';
export { maskedObjective } from './objectives/encoders.ts';
export {
  type HeadsSubject,
  medusaObjective,
  type MedusaTraining,
  medusaTrainingDefaults,
  pairMedusaObjective,
  withHeads,
} from './objectives/draft-heads.ts';
export {
  type BatchValues,
  causalObjective,
  nextTokenLoss,
  type NextTokenValues,
  type Objective,
  tokenLoss,
} from './objectives/next-token.ts';
export { sequenceObjective } from './objectives/encoders.ts';
export { distill, type DistillDetails, type DistillOptions } from './plans/distill.ts';
export { finetune, type FinetuneDetails, type FinetuneOptions } from './plans/finetune.ts';
export {
  type HeadAccuracy,
  type HeadsDetails,
  type HeadsHooks,
  type HeadsOptions,
  type TrainedHeads,
  trainHeads,
} from './plans/heads.ts';
export type { ObjectiveName } from './plans/objectives.ts';
export { pretrain, type PretrainOptions } from './plans/pretrain.ts';
export type { PlannedRun, TrainingHooks, TrainingResult } from './plans/run.ts';
export { type Recipe, recipe, type RecipeName, recipeNames, withRecipe } from './recipes.ts';
export { learningRate, type ScheduleConfig, type ScheduleName } from './settings.ts';
export { parseTrainingSettings, type TrainingInput, type TrainingSettings } from './settings.ts';
export { type RowFeature, train, type TrainingJob, type TrainingOutcome, type UpdateEvent } from './trainer.ts';
