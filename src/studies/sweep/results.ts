/** The results of a study: one file per trial, so that nothing measured is lost, and their summary over seeds. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../../files/atomic.ts';
import { readInFolder } from '../../files/regular-file.ts';
import { LinnetError } from '../../errors.ts';
import { schemaProblems } from '../../files/schema-problems.ts';
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
});

const resultSchema = z.strictObject({
  format: z.literal('linnet-trial'),
  version: z.literal(1),
  /** What decides the result; see `trialIdentity`. */
  identity: z.string(),
  model: z.string(),
  method: z.string(),
  augmented: z.boolean(),
  seed: z.int(),
  ...measuredSchema.shape,
});

/** A result with the place of its trial in the study. */
export type StoredTrial = TrialResult & Pick<Trial, 'model' | 'method' | 'augmented' | 'seed'>;

const mostBytes = 1 << 16;

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
export class SweepFolder {
  readonly path: string;
  readonly #trials: string;

  private constructor(path: string) {
    this.path = path;
    this.#trials = join(path, 'trials');
  }

  /** Opens the folder; it is created if it does not exist. @throws LinnetError `PATH` from the file system */
  static async open(path: string): Promise<SweepFolder> {
    const folder = new SweepFolder(path);
    await mkdir(folder.#trials, { recursive: true });
    return folder;
  }

  /** Where the training of a trial keeps its snapshots. */
  snapshotFolder(trial: Trial): string {
    return join(this.#trials, `${trialName(trial)}.snapshots`);
  }

  /**
   * The result of a trial that was run before with the same model, data and settings; undefined where there is none.
   * @throws LinnetError `MISMATCH` for the result of another trial of the same name, `FORMAT` for a damaged file
   */
  async find(trial: Trial, identity: string): Promise<StoredTrial | undefined> {
    const file = `${trialName(trial)}.json`;
    let text: string;
    try {
      text = (await readInFolder(this.#trials, file, mostBytes)).toString('utf8');
    } catch (error) {
      if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
      throw error;
    }
    const parsed = resultSchema.safeParse(parseJson(text, file));
    if (!parsed.success) {
      throw new LinnetError(
        'FORMAT',
        `${join(this.#trials, file)} is no result of a trial: ${schemaProblems(parsed.error)}`,
      );
    }
    const { model, method, augmented, seed } = parsed.data;
    const isOfTrial = trialName({ model, method, augmented, seed }) === trialName(trial);
    if (parsed.data.identity !== identity || !isOfTrial) {
      throw new LinnetError(
        'MISMATCH',
        `${join(this.#trials, file)} is of another trial, or was measured with another model, text or budget than the plan says now; ` +
          'name another --out, or delete the file to measure it again',
      );
    }
    const { format: _, version: __, identity: ___, ...stored } = parsed.data;
    return stored;
  }

  /** Keeps a result, and drops the snapshots that led to it. */
  async store(trial: Trial, identity: string, result: TrialResult): Promise<StoredTrial> {
    const { model, method, augmented, seed } = trial;
    const stored = { model, method, augmented, seed, ...result };
    const content = { format: 'linnet-trial', version: 1, identity, ...stored };
    await writeFileAtomic(join(this.#trials, `${trialName(trial)}.json`), `${JSON.stringify(content, null, 2)}\n`);
    await rm(this.snapshotFolder(trial), { recursive: true, force: true });
    return stored;
  }
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new LinnetError('FORMAT', `${file} is not JSON; delete it to measure the trial again`, { cause });
  }
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
