/** The settings of a training run, checked, with the paper's defaults. */
import { z } from 'zod';
import { validated } from '../files/schema-problems.ts';
import { adamWDefaults } from './adamw.ts';
import { scheduleNames } from './schedule.ts';

/** A field with its texts for a command line or form: a word for its value, and a sentence without an end. */
export const described = <Schema extends z.ZodType>(schema: Schema, placeholder: string, description: string): Schema =>
  schema.meta({ placeholder, description });

const share = z.number().min(0).max(0.999999);

const defaults = {
  learningRate: 2e-5,
  schedule: 'linear',
  warmup: 0,
  batch: 32,
  length: 512,
  epochs: 3,
  clip: 1,
  seed: 0,
  labelSmoothing: 0,
} as const;

/** Every setting with its bounds and its description, none with a default: a form of them shows which were left out. */
export const settingFields = {
  steps: described(z.int().min(1), 'count', 'optimizer steps in all (default: from `epochs`)'),
  epochs: described(z.int().min(1), 'count', `passes over the data (default: ${defaults.epochs})`),
  learningRate: described(z.number().min(1e-12).max(10), 'rate', 'peak learning rate (default: 2e-5)'),
  schedule: described(
    z.enum(scheduleNames),
    'name',
    `after the warm-up: ${scheduleNames.join(', ')} (default: ${defaults.schedule})`,
  ),
  warmup: described(z.int().min(0), 'steps', `optimizer steps of linear warm-up (default: ${defaults.warmup})`),
  warmupShare: described(
    z.number().min(0).max(1),
    'share',
    'linear warm-up as a share of all optimizer steps, in place of `warmup`',
  ),
  batch: described(z.int().min(1).max(65536), 'rows', `sequences per optimizer step (default: ${defaults.batch})`),
  microBatch: described(
    z.int().min(1).max(65536),
    'rows',
    'sequences per run of the engine, a divisor of `batch` (default: about 4096 tokens)',
  ),
  length: described(
    z
      .int()
      .min(1)
      .max(1 << 20),
    'tokens',
    `tokens per sequence (default: ${defaults.length})`,
  ),
  weightDecay: described(
    z.number().min(0).max(1),
    'rate',
    `decoupled weight decay of matrices (default: ${adamWDefaults.weightDecay})`,
  ),
  beta1: described(share, 'share', `decay of the first moment (default: ${adamWDefaults.beta1})`),
  beta2: described(share, 'share', `decay of the second moment (default: ${adamWDefaults.beta2})`),
  clip: described(
    z.number().min(0),
    'norm',
    `largest norm of all gradients together, 0 for none (default: ${defaults.clip})`,
  ),
  labelSmoothing: described(
    z.number().min(0).max(0.999),
    'share',
    `share of each label that is spread evenly over all classes or tokens (default: ${defaults.labelSmoothing})`,
  ),
  seed: described(z.int(), 'number', `of the shuffle, and of fresh weights (default: ${defaults.seed})`),
};

/** Settings as they are given. */
export const trainingSchema = z
  .strictObject({
    /** Peak learning rate. Default 2e-5. */
    learningRate: settingFields.learningRate.default(defaults.learningRate),
    /** Shape of the learning rate after the warm-up. Default `linear`. */
    schedule: settingFields.schedule.default(defaults.schedule),
    /** Optimizer steps of linear warm-up. Default 0. */
    warmup: settingFields.warmup.default(defaults.warmup),
    /** Linear warm-up as a share of all optimizer steps, in place of `warmup`. */
    warmupShare: settingFields.warmupShare.optional(),
    /** Sequences per optimizer step. Default 32. */
    batch: settingFields.batch.default(defaults.batch),
    /** Sequences per run of the graph, a divisor of `batch`. Default: as many as make `microBatchTokens`. */
    microBatch: settingFields.microBatch.optional(),
    /** Tokens per sequence. Default 512. */
    length: settingFields.length.default(defaults.length),
    /** Passes over the data, where `steps` is not given. Default 3. */
    epochs: settingFields.epochs.default(defaults.epochs),
    /** Optimizer steps in all. Default: as many as `epochs` need. */
    steps: settingFields.steps.optional(),
    /** Decoupled weight decay of matrices. */
    weightDecay: settingFields.weightDecay.default(adamWDefaults.weightDecay),
    /** Decay of the first moment. */
    beta1: settingFields.beta1.default(adamWDefaults.beta1),
    /** Decay of the second moment. */
    beta2: settingFields.beta2.default(adamWDefaults.beta2),
    /** Added to the root of the second moment. */
    epsilon: z.number().positive().default(adamWDefaults.epsilon),
    /** Largest norm of all gradients together, 0 for none. Default 1. */
    clip: settingFields.clip.default(defaults.clip),
    /** Share of each label that is spread evenly over all classes or tokens. Default 0. */
    labelSmoothing: settingFields.labelSmoothing.default(defaults.labelSmoothing),
    /** Of the shuffle, and of fresh weights. Default 0. */
    seed: settingFields.seed.default(defaults.seed),
  })
  .refine(({ batch, microBatch }) => microBatch === undefined || batch % microBatch === 0, {
    message: 'microBatch must divide batch',
    path: ['microBatch'],
  });

/** Settings with all defaults filled in. */
export type TrainingSettings = z.infer<typeof trainingSchema>;
/** Settings with optional fields, before defaults. */
export type TrainingInput = z.input<typeof trainingSchema>;

/** Checks settings and fills in the defaults. @throws LinnetError `CONFIG` naming every field that is wrong */
export function parseTrainingSettings(input: TrainingInput): TrainingSettings {
  return validated(trainingSchema, input, 'CONFIG', 'invalid training settings');
}

/** Optimizer steps of warm-up in a run of `total`: `warmupShare` of them, rounded, or `warmup`. */
export function warmupSteps(
  { warmup, warmupShare }: Pick<TrainingSettings, 'warmup' | 'warmupShare'>,
  total: number,
): number {
  return warmupShare === undefined ? warmup : Math.round(warmupShare * total);
}

/** Tokens that one run of the graph works on. Speed is the same from one to eight thousand tokens on CPU, memory is not. */
const microBatchTokens = 4096;

/** Rows of a micro-batch: given, or the largest divisor of the batch that stays within `microBatchTokens`. */
export function microBatchRows({ batch, microBatch, length }: TrainingSettings): number {
  if (microBatch !== undefined) return microBatch;
  for (let rows = batch; rows > 1; rows--) if (batch % rows === 0 && rows * length <= microBatchTokens) return rows;
  return 1;
}
