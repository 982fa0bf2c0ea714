/**
 * Compares models: each one's score in each task, and its distance from the first model. All answered the same questions, so
 * the error of a difference comes from the differences per question: it is smaller than for independent numbers if models
 * agree on the easy questions.
 */
import { LinnetError } from '../../../errors.ts';
import { type AnswerValue, isMetricName, metrics, type MetricName, numberOfAnswer } from '../metrics/registry.ts';
import { bootstrapError } from '../metrics/statistics.ts';
import { meanError } from '../../../report/statistics.ts';
import { type ModelResults, readSamples, type Sample } from './result-files.ts';

/** Resamples for the error of a difference between set quantities. */
const resamples = 1000;

export interface MeasuredValue {
  readonly value: number;
  /** Standard error; undefined if results have none. */
  readonly error: number | undefined;
}

/** A task's metric, for all models. */
export type ComparedMetric = ReturnType<typeof comparedMetric>;

export interface ComparedTask {
  readonly task: string;
  readonly metrics: readonly ComparedMetric[];
}

type Samples = ReadonlyMap<string, ReadonlyMap<number, Sample>>;

/**
 * Compares models in all tasks with results from the first.
 * @throws LinnetError `INPUT` for fewer than two models; `MISMATCH` for samples of other rows or prompts; like `readSamples`
 */
export async function compareResults(models: readonly ModelResults[]): Promise<ComparedTask[]> {
  if (models.length < 2) {
    const found = models.map(({ file }) => file).join(', ');
    throw new LinnetError('INPUT', `a comparison needs the results of two models or more, got ${found}`);
  }
  const [first] = models;
  const tasks: ComparedTask[] = [];
  for (const [task, numbers] of Object.entries(first.results)) {
    const keys = Object.keys(numbers).filter(isMetricKey);
    const samples: (Samples | undefined)[] = [];
    for (const model of models) {
      const file = model.samples.get(task);
      samples.push(file === undefined ? undefined : await readSamples(file));
    }
    samples.slice(1).forEach((other, index) => {
      const [reference] = samples;
      if (reference !== undefined && other !== undefined) {
        requireSameQuestions(reference, other, models[0].samples.get(task), models[index + 1].samples.get(task));
      }
    });
    const compared = keys.map((key) => comparedMetric(task, key, models, samples));
    tasks.push({ task, metrics: compared });
  }
  return tasks;
}

/** Accepts `acc,none`, not `acc_stderr,none`, `alias` or `sample_len`. */
function isMetricKey(key: string): boolean {
  const [name, filter] = key.split(',');
  return filter !== undefined && !name.endsWith('_stderr');
}

function comparedMetric(
  task: string,
  key: string,
  models: readonly ModelResults[],
  samples: readonly (Samples | undefined)[],
) {
  const [name, filter] = key.split(',');
  const higherIsBetter =
    models[0].higherIsBetter[task]?.[name] ?? (isMetricName(name) ? metrics[name].higherIsBetter : true);
  // In model order; undefined for a model that was not asked.
  const values = models.map(({ results }): MeasuredValue | undefined => {
    const value = results[task]?.[key];
    if (typeof value !== 'number') return undefined;
    const error = results[task]?.[`${name}_stderr,${filter}`];
    return { value, error: typeof error === 'number' ? error : undefined };
  });
  // For every model but the first; undefined without samples from both.
  const [reference] = samples;
  const differences = samples.slice(1).map((other) => {
    const pairs = pairsOf(reference?.get(filter), other?.get(filter), name);
    return pairs === undefined || !isMetricName(name) ? undefined : differenceOf(pairs, name, higherIsBetter);
  });
  return { task, key, higherIsBetter, values, differences };
}

type Pair = readonly [reference: AnswerValue, other: AnswerValue];

function pairsOf(
  reference: ReadonlyMap<number, Sample> | undefined,
  other: ReadonlyMap<number, Sample> | undefined,
  metric: string,
): Pair[] | undefined {
  if (reference === undefined || other === undefined) return undefined;
  const pairs = [...reference].flatMap(([docId, sample]): Pair[] => {
    const mine = sample.values.get(metric);
    const theirs = other.get(docId)?.values.get(metric);
    return mine === undefined || theirs === undefined ? [] : [[mine, theirs]];
  });
  return pairs.length === 0 ? undefined : pairs;
}

function differenceOf(pairs: readonly Pair[], name: MetricName, higherIsBetter: boolean) {
  const metric = metrics[name];
  const quantity = (chosen: readonly Pair[]): number =>
    metric.aggregate(chosen.map(([, other]) => other)) - metric.aggregate(chosen.map(([reference]) => reference));
  const error =
    metric.error === 'mean'
      ? meanError(pairs.map(([reference, other]) => numberOfAnswer(other) - numberOfAnswer(reference)))
      : bootstrapError(pairs.length, (indices) => quantity(Array.from(indices, (index) => pairs[index])), resamples);
  const gains = pairs.map(([reference, other]) => (higherIsBetter ? 1 : -1) * (worthOf(other) - worthOf(reference)));
  return {
    value: quantity(pairs),
    error: Number.isFinite(error) ? error : undefined,
    questions: pairs.length,
    // Questions the model answers better than the first, and worse.
    better: gains.filter((gain) => gain > 0).length,
    worse: gains.filter((gain) => gain < 0).length,
  };
}

/** An answer's worth: for a pair of true and predicted class, whether they are equal. */
function worthOf(value: AnswerValue): number {
  return typeof value === 'number' ? value : Number(value[0] === value[1]);
}

/** @throws LinnetError `MISMATCH` if the same number names another row, or was asked with another prompt */
function requireSameQuestions(reference: Samples, other: Samples, file = '', otherFile = ''): void {
  for (const [filter, questions] of reference) {
    for (const [docId, sample] of questions) {
      const twin = other.get(filter)?.get(docId);
      if (twin === undefined || (twin.docHash === sample.docHash && twin.promptHash === sample.promptHash)) continue;
      const what = twin.docHash === sample.docHash ? 'was asked with another prompt' : 'is another row';
      throw new LinnetError(
        'MISMATCH',
        `question ${docId} ${what} in ${otherFile} than in ${file}; ask both with the same data, shots and seed`,
      );
    }
  }
}
