/** The options that every training command has, and the settings they come to. */
import { type RecipeName, recipeNames, withRecipe } from '../../training/recipes.ts';
import { scheduleNames } from '../../training/schedule.ts';
import { parseTrainingSettings, type TrainingInput, type TrainingSettings } from '../../training/settings.ts';
import { engineOptions, flag, optional, requiredList, withDefault } from '../framework/command.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { checkpointTypeOption, folderFor, replaceOption } from './folder-parameters.ts';
import { choice, decimal, integer, path, text } from '../framework/option-values.ts';
import { fieldOption } from './text-options.ts';

const share = decimal({ min: 0, max: 0.999999 });

/** Options of every training command. Those with a default in `trainingSchema` are left to it. */
export const trainingOptions = {
  data: requiredList(text, {
    placeholder: 'sources',
    description: '.txt and .jsonl files, or npm:PACKAGE; tables of examples as .jsonl, .csv or .tsv',
  }),
  field: fieldOption,
  heldOut: withDefault(integer({ min: 0 }), 0, {
    placeholder: 'count',
    description: 'leave out the last documents, to evaluate on',
  }),
  out: folderFor('the trained model'),
  replace: replaceOption,
  dtype: checkpointTypeOption,
  recipe: optional(choice(recipeNames), {
    placeholder: 'name',
    description: `settings of a run of the paper, in place of the defaults below: ${recipeNames.join(', ')}`,
  }),
  steps: optional(integer({ min: 1 }), {
    placeholder: 'count',
    description: 'updates in all (default: from --epochs)',
  }),
  epochs: optional(integer({ min: 1 }), { placeholder: 'count', description: 'passes over the data (default: 3)' }),
  lr: optional(decimal({ min: 1e-12, max: 10 }), {
    placeholder: 'rate',
    description: 'peak learning rate (default: 2e-5)',
  }),
  schedule: optional(choice(scheduleNames), {
    placeholder: 'name',
    description: `after the warm-up: ${scheduleNames.join(', ')} (default: linear)`,
  }),
  warmup: optional(integer({ min: 0 }), {
    placeholder: 'updates',
    description: 'updates of linear warm-up (default: 0)',
  }),
  batch: optional(integer({ min: 1, max: 65536 }), {
    placeholder: 'rows',
    description: 'sequences per update (default: 32)',
  }),
  microBatch: optional(integer({ min: 1, max: 65536 }), {
    placeholder: 'rows',
    description: 'sequences per run of the engine, a divisor of --batch (default: about 4096 tokens)',
  }),
  length: optional(integer({ min: 1, max: 1 << 20 }), {
    placeholder: 'tokens',
    description: 'tokens per sequence (default: 512)',
  }),
  packing: withDefault(choice(['stream', 'document']), 'stream', {
    placeholder: 'name',
    description: 'stream: documents one after the other; document: one per sequence, cut or padded',
  }),
  weightDecay: optional(decimal({ min: 0, max: 1 }), {
    placeholder: 'rate',
    description: 'decoupled weight decay of matrices (default: 0)',
  }),
  beta1: optional(share, { placeholder: 'share', description: 'decay of the first moment (default: 0.9)' }),
  beta2: optional(share, { placeholder: 'share', description: 'decay of the second moment (default: 0.95)' }),
  clip: optional(decimal({ min: 0 }), {
    placeholder: 'norm',
    description: 'largest gradient norm, 0 for none (default: 1)',
  }),
  seed: withDefault(integer(), 0, { placeholder: 'number', description: 'of the shuffle, and of fresh weights' }),
  run: optional(path, {
    placeholder: 'folder',
    description: 'run folder: record, metrics, snapshots (default: OUT.run)',
  }),
  snapshotEvery: withDefault(integer({ min: 1 }), 100, {
    placeholder: 'updates',
    description: 'how often to save a snapshot',
  }),
  resume: flag('continue the run in the run folder from its newest snapshot; give the same options as before'),
  ...engineOptions,
};

/** The values of `trainingOptions`. */
export interface TrainingValues {
  readonly data: readonly string[];
  readonly field: string;
  readonly heldOut: number;
  readonly out: string;
  readonly replace: boolean;
  readonly dtype: 'F32' | 'F16' | 'BF16';
  readonly recipe?: RecipeName;
  readonly steps?: number;
  readonly epochs?: number;
  readonly lr?: number;
  readonly schedule?: TrainingInput['schedule'];
  readonly warmup?: number;
  readonly batch?: number;
  readonly microBatch?: number;
  readonly length?: number;
  readonly packing: 'stream' | 'document';
  readonly weightDecay?: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly clip?: number;
  readonly seed: number;
  readonly run?: string;
  readonly snapshotEvery: number;
  readonly resume: boolean;
  readonly device: 'cpu' | 'webgpu';
  readonly threads?: number;
}

/** The settings that the options come to. @throws UsageError for options that exclude each other */
export function settingsOf(values: TrainingValues): TrainingSettings {
  const { lr, clip, steps, epochs } = values;
  if (steps !== undefined && epochs !== undefined)
    throw new UsageError('--steps and --epochs exclude each other; give one of them');
  const { schedule, warmup, batch, microBatch, length, weightDecay, beta1, beta2, seed } = values;
  if (batch !== undefined && microBatch !== undefined && batch % microBatch !== 0) {
    throw new UsageError(`--micro-batch is ${microBatch}; expected a divisor of --batch, ${batch}`);
  }
  const given = {
    ...{
      learningRate: lr,
      steps,
      epochs,
      schedule,
      warmup,
      batch,
      microBatch,
      length,
      weightDecay,
      beta1,
      beta2,
      seed,
    },
    clip: clip === undefined ? undefined : clip === 0 ? null : clip,
  };
  return parseTrainingSettings(withRecipe(values.recipe, given));
}
