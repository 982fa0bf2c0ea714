/** The settings of a training run, checked, with the paper's defaults. */
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { adamWDefaults } from './adamw.ts';
import { scheduleNames } from './schedule.ts';

const share = z.number().min(0).max(0.999999);

const trainingSchema = z
  .strictObject({
    /** Peak learning rate. */
    learningRate: z.number().positive().max(10).default(2e-5),
    schedule: z.enum(scheduleNames).default('linear'),
    /** Updates of linear warm-up. */
    warmup: z.int().min(0).default(0),
    /** Sequences per update. */
    batch: z.int().min(1).max(65536).default(32),
    /** Sequences per micro-batch, a divisor of `batch`; default: as many as make `microBatchTokens`. */
    microBatch: z.int().min(1).optional(),
    /** Tokens per sequence. */
    length: z
      .int()
      .min(1)
      .max(1 << 20)
      .default(512),
    /** Passes over the data, where `steps` does not say otherwise. */
    epochs: z.int().min(1).default(3),
    /** Updates in all; default: what `epochs` come to. */
    steps: z.int().min(1).optional(),
    weightDecay: z.number().min(0).max(1).default(adamWDefaults.weightDecay),
    beta1: share.default(adamWDefaults.beta1),
    beta2: share.default(adamWDefaults.beta2),
    epsilon: z.number().positive().default(adamWDefaults.epsilon),
    /** Largest norm of all gradients together; null does not clip. */
    clip: z.number().positive().nullable().default(1),
    seed: z.int().default(0),
  })
  .refine(({ batch, microBatch }) => microBatch === undefined || batch % microBatch === 0, {
    message: 'microBatch must divide batch',
    path: ['microBatch'],
  });

/** Settings with all defaults filled in. */
export type TrainingSettings = z.infer<typeof trainingSchema>;
/** What a caller may leave out. */
export type TrainingInput = z.input<typeof trainingSchema>;

/**
 * @throws LinnetError `CONFIG` naming every field that is wrong
 * @example
 * ```ts
 * const settings = parseTrainingSettings({ learningRate: 2e-3, batch: 8, length: 256, steps: 200 });
 * ```
 */
export function parseTrainingSettings(input: TrainingInput): TrainingSettings {
  const result = trainingSchema.safeParse(input);
  if (result.success) return result.data;
  throw new LinnetError('CONFIG', `invalid training settings:\n${z.prettifyError(result.error)}`, {
    cause: result.error,
  });
}

/**
 * Tokens that one run of the graph works on. Speed is the same from one to eight thousand tokens on CPU, memory is not.
 */
const microBatchTokens = 4096;

/** Rows of a micro-batch: given, or the largest divisor of the batch that stays within `microBatchTokens`. */
export function microBatchRows({ batch, microBatch, length }: TrainingSettings): number {
  if (microBatch !== undefined) return microBatch;
  for (let rows = batch; rows > 1; rows--) if (batch % rows === 0 && rows * length <= microBatchTokens) return rows;
  return 1;
}
