/** The settings of a training run, checked, with the paper's defaults; learning rates over its optimizer steps. */
import { z } from 'zod';
import { validated } from '../files/schema-problems.ts';
import { adamWDefaults } from './adamw.ts';
import { LinnetError, OptionsError } from '../errors.ts';
import { positiveNumber, share, whole } from '../files/schema-values.ts';

export const scheduleNames = ['constant', 'linear', 'cosine'] as const;
/** The shape of the learning rate after the warm-up. */
export type ScheduleName = (typeof scheduleNames)[number];

/** A field with its texts for a command line or form: a word for its value, and a description without a period. */
export const described = <Schema extends z.ZodType>(
  schema: Schema,
  placeholder: string,
  description: string,
  value?: string | number,
): Schema =>
  schema.meta({
    placeholder,
    description: value === undefined ? description : `${description} (default: ${value})`,
  });

const shareBelowOne = z.number().min(0).max(0.999999);

const defaults = {
  learningRate: 2e-5,
  schedule: 'linear',
  warmup: 0,
  batch: 32,
  length: 512,
  epochs: 3,
  ...adamWDefaults,
  clip: 1,
  labelSmoothing: 0,
  seed: 0,
};

/** All settings with bounds and descriptions, without defaults, so that a form shows which were left out. */
export const settingFields = {
  steps: described(whole(1), 'count', 'total optimizer steps', 'from `epochs`'),
  epochs: described(whole(1), 'count', 'passes over the data', defaults.epochs),
  learningRate: described(z.number().min(1e-12).max(10), 'rate', 'peak learning rate', '2e-5'),
  schedule: described(
    z.enum(scheduleNames),
    'name',
    `learning rate after warm-up: ${scheduleNames.join(', ')}`,
    defaults.schedule,
  ),
  warmup: described(whole(), 'steps', 'optimizer steps of linear warm-up', defaults.warmup),
  warmupShare: described(share, 'share', 'linear warm-up as a share of all optimizer steps, instead of `warmup`'),
  batch: described(whole(1, 65536), 'rows', 'sequences per optimizer step', defaults.batch),
  microBatch: described(whole(1, 65536), 'rows', 'sequences per engine run, a divisor of `batch`', 'about 4096 tokens'),
  length: described(whole(1, 1048576), 'tokens', 'tokens per sequence', defaults.length),
  weightDecay: described(share, 'rate', 'decoupled weight decay of matrices', defaults.weightDecay),
  beta1: described(shareBelowOne, 'share', 'decay of the first moment', defaults.beta1),
  beta2: described(shareBelowOne, 'share', 'decay of the second moment', defaults.beta2),
  clip: described(z.number().min(0), 'norm', 'clip gradients to this total norm; 0 turns it off', defaults.clip),
  labelSmoothing: described(
    z.number().min(0).max(0.999),
    'share',
    'share of each label spread evenly over all classes or tokens',
    defaults.labelSmoothing,
  ),
  seed: described(z.int(), 'number', 'seed of the shuffle and new weights', defaults.seed),
};

/** Settings of a run, complete. */
export const trainingSchema = z
  .strictObject({
    ...settingFields,
    ...z.object(settingFields).pick({ steps: true, warmupShare: true, microBatch: true }).partial().shape,
    /** Added to the root of the second moment. */
    epsilon: positiveNumber,
  })
  .refine(({ batch, microBatch }) => microBatch === undefined || batch % microBatch === 0, {
    message: 'microBatch must divide batch',
    path: ['microBatch'],
  });

/** Settings with all defaults filled in. */
export type TrainingSettings = z.infer<typeof trainingSchema>;
/** Settings as given; the rest get defaults. */
export type TrainingInput = Partial<TrainingSettings>;

/** Checks settings and fills in the defaults. @throws LinnetError `CONFIG` naming every wrong field */
export function parseTrainingSettings(input: TrainingInput): TrainingSettings {
  const entries = Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined));
  return validated(trainingSchema, { ...defaults, ...entries }, 'CONFIG', 'invalid training settings');
}

/** Optimizer steps of warm-up in a run of `total`: `warmupShare` of them, rounded, or `warmup`. */
export function warmupSteps(
  { warmup, warmupShare }: Pick<TrainingSettings, 'warmup' | 'warmupShare'>,
  total: number,
): number {
  return warmupShare === undefined ? warmup : Math.round(warmupShare * total);
}

/** Tokens per graph run. On CPU, speed is equal from one to eight thousand tokens; memory is not. */
const microBatchTokens = 4096;

/** Rows of a micro-batch: given, or the largest divisor of the batch that stays within `microBatchTokens`. */
export function microBatchRows({ batch, microBatch, length }: TrainingSettings): number {
  if (microBatch !== undefined) return microBatch;
  for (let rows = batch; rows > 1; rows--) if (batch % rows === 0 && rows * length <= microBatchTokens) return rows;
  return 1;
}

/** A learning rate over the optimizer steps of a run. */
export interface ScheduleConfig {
  /** Its shape after the warm-up. */
  readonly name: ScheduleName;
  /** The learning rate after warm-up. */
  readonly peak: number;
  /** Optimizer steps over which the rate rises linearly from 0; optimizer step 0 then has rate 0. */
  readonly warmup: number;
  /** Total optimizer steps: where `linear` and `cosine` reach 0. */
  readonly total: number;
}

/** Share of the peak, from the progress between the end of the warm-up (0) and the end of the run (1). */
const decays: Readonly<Record<ScheduleName, (progress: number) => number>> = {
  constant: () => 1,
  linear: (progress) => 1 - progress,
  cosine: (progress) => 0.5 * (1 + Math.cos(Math.PI * progress)),
};

/**
 * The learning rate of an optimizer step.
 *
 * @param update counted from 0
 * @throws LinnetError `CONFIG` if the warm-up is longer than the run
 */
export function learningRate(config: ScheduleConfig, update: number): number {
  const { peak, warmup, total } = config;
  if (warmup > total) {
    throw new LinnetError(
      'CONFIG',
      `the warm-up has ${warmup} optimizer steps, but the run only ${total}; shorten the warm-up`,
    );
  }
  if (update < warmup) return (peak * update) / warmup;
  const progress = total > warmup ? Math.min(1, (update - warmup) / (total - warmup)) : 1;
  return peak * decays[config.name](progress);
}

/** @throws OptionsError if rows of `length` tokens are longer than the most that a model reads */
export function requireLength(length: number, most: number): void {
  if (length > most) throw new OptionsError(`\`length\` is ${length}; the model reads at most ${most} tokens`);
}
