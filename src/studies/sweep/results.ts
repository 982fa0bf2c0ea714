/** The results of a study: one file per trial, so that nothing measured is lost, and their summary over seeds. */
import { z } from 'zod';
import { TrialFolder } from '../trial-folder.ts';
import type { Trial, TrialResult } from './trial.ts';

/** JSON has no NaN and no infinities: a diverged trial writes null. */
const number = z
  .number()
  .nullable()
  .transform((value) => value ?? Number.NaN);

/** What a trial measured, as JSON. */
export const measuredSchema = z.strictObject({
  perplexity: number,
  loss: number,
  parameters: z.int(),
  tokensPerSecond: number,
  seconds: number,
  description: z.string(),
  /** Absent in results of earlier versions. */
  curve: z
    .array(z.strictObject({ update: z.int(), loss: number }))
    .readonly()
    .optional(),
});

const resultSchema = z.strictObject({
  model: z.string(),
  method: z.string(),
  augmented: z.boolean(),
  seed: z.int(),
  ...measuredSchema.shape,
});

/** A result with the place of its trial in the study. */
export type StoredTrial = TrialResult & Pick<Trial, 'model' | 'method' | 'augmented' | 'seed'>;

/** File name of a trial's result, without its ending. Names of a plan have no underscore of their own, so that no two are one. */
export function trialName({
  model,
  method,
  augmented,
  seed,
}: Pick<Trial, 'model' | 'method' | 'augmented' | 'seed'>): string {
  const words = [model, method, augmented ? 'augmented' : 'plain', `seed ${seed}`];
  return words.map((word) => word.replace(/[^\p{L}\d+.·-]/gu, '_')).join('--');
}

/** The folder of one study. */
export type SweepFolder = TrialFolder<z.output<typeof resultSchema>>;

/** Opens the folder; it is created if it does not exist. @throws LinnetError `PATH` from the file system */
export function openSweepFolder(path: string): Promise<SweepFolder> {
  return TrialFolder.open(path, { schema: resultSchema, nameOf: trialName });
}

/** A method of a study over its seeds. */
export interface SweepRow {
  readonly model: string;
  readonly method: string;
  readonly augmented: boolean;
  readonly description: string;
  readonly parameters: number;
  /** Mean over the seeds. */
  readonly perplexity: number;
  /** Sample standard deviation over the seeds; NaN for a single one. */
  readonly deviation: number;
  /** Mean over the seeds. */
  readonly loss: number;
  readonly tokensPerSecond: number;
  readonly trials: readonly StoredTrial[];
}

/** Results by model, method and augmentation, in the order in which they first appear. */
export function summarize(results: readonly StoredTrial[]): SweepRow[] {
  const cells = new Map<string, StoredTrial[]>();
  for (const result of results) {
    const key = JSON.stringify([result.model, result.method, result.augmented]);
    cells.set(key, [...(cells.get(key) ?? []), result]);
  }
  return [...cells.values()].map((trials) => {
    const [{ model, method, augmented, description, parameters }] = trials;
    const perplexities = trials.map(({ perplexity }) => perplexity);
    return {
      model,
      method,
      augmented,
      description,
      parameters,
      perplexity: mean(perplexities),
      deviation: sampleDeviation(perplexities),
      loss: mean(trials.map(({ loss }) => loss)),
      tokensPerSecond: mean(trials.map(({ tokensPerSecond }) => tokensPerSecond)),
      trials,
    };
  });
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** With n − 1, since the mean comes from the same values. */
function sampleDeviation(values: readonly number[]): number {
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}
