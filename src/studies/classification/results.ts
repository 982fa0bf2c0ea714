/** The results of a study of classifiers, and their summary over seeds: a row a model and method, a column a task. */
import { z } from 'zod';
import { TrialFolder } from '../trial-folder.ts';
import type { ClassificationMeasured, ClassificationTrial } from './trial.ts';

/** JSON has no NaN: a correlation of constant numbers writes null. */
const number = z
  .number()
  .nullable()
  .transform((value) => value ?? Number.NaN);

const resultSchema = z.strictObject({
  model: z.string(),
  task: z.string(),
  method: z.string(),
  seed: z.int(),
  measures: z.strictObject({
    accuracy: number.optional(),
    f1: number.optional(),
    matthews: number.optional(),
    pearson: number.optional(),
    spearman: number.optional(),
  }),
  texts: z.int(),
  loss: number,
  parameters: z.int(),
  seconds: number,
});

/** A result with the place of its trial in the study. */
export type StoredClassification = ClassificationMeasured &
  Pick<ClassificationTrial, 'model' | 'method' | 'seed'> & { readonly task: string };

export type ClassificationFolder = TrialFolder<StoredClassification>;

/** Opens the folder of a study; it is created if it does not exist. @throws LinnetError `PATH` from the file system */
export function openClassificationFolder(path: string): Promise<ClassificationFolder> {
  return TrialFolder.open<StoredClassification>(path, { schema: resultSchema, nameOf: classificationName });
}

/** File name of a trial's result, without its ending. */
export function classificationName(trial: Pick<StoredClassification, 'model' | 'task' | 'method' | 'seed'>): string {
  const words = [trial.model, trial.task, trial.method, `seed ${trial.seed}`];
  return words.map((word) => word.replace(/[^\p{L}\d+.·-]/gu, '_')).join('--');
}

/** What a model with a method is worth in a task. */
export interface ClassificationCell {
  readonly task: string;
  /** By measure: mean over the seeds, and sample standard deviation, NaN for one seed. */
  readonly measures: Readonly<Record<string, { readonly mean: number; readonly deviation: number }>>;
  /** Mean of the measures: what the task counts with. */
  readonly score: number;
}

/** A model with a method, over the tasks. */
export interface ClassificationRow {
  readonly model: string;
  readonly method: string;
  readonly cells: readonly ClassificationCell[];
  /** Mean score of the tasks, as GLUE averages them. */
  readonly average: number;
}

/** Results by model and method, in the order in which they first appear. */
export function summarizeClassification(results: readonly StoredClassification[]): ClassificationRow[] {
  const rows = grouped(results, ({ model, method }) => JSON.stringify([model, method]));
  return rows.map((own) => {
    const cells = grouped(own, ({ task }) => task).map((trials): ClassificationCell => {
      const names = Object.keys(trials[0].measures);
      const measures = Object.fromEntries(
        names.map((name) => {
          const values = trials.map(
            (trial) => new Map<string, number>(Object.entries(trial.measures)).get(name) ?? NaN,
          );
          return [name, { mean: mean(values), deviation: deviation(values) }];
        }),
      );
      return { task: trials[0].task, measures, score: mean(Object.values(measures).map((measure) => measure.mean)) };
    });
    return { model: own[0].model, method: own[0].method, cells, average: mean(cells.map(({ score }) => score)) };
  });
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return [...groups.values()];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** With n − 1, since the mean comes from the same values. */
function deviation(values: readonly number[]): number {
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}
