/** Scores a model's answers to a question, by every filter and metric of its task. */
import type { Score } from '../../engine/scoring/scorer.ts';
import { internalError } from '../../errors.ts';
import { type Filter, makeFilter } from './filters/filter.ts';
import { type AnswerValue, type MetricName, metrics } from './metrics/registry.ts';
import { bootstrapError, defaultBootstrapIterations, groupMean } from './metrics/statistics.ts';
import { meanError } from '../../report/statistics.ts';
import { type TaskGroup, tasksOf } from './registry.ts';
import type { Question } from './requests.ts';
import type { Task } from './schema.ts';

/** The answer to one request: a score, or a generated text. */
export type Response = Score | string;

/** A question's answers after one filter, with their metrics. */
export type Judgement = ReturnType<typeof judge>[number];

interface NamedFilters {
  readonly name: string;
  readonly filters: readonly Filter[];
}

const compiled = new WeakMap<Task, readonly NamedFilters[]>();

function filtersOf(task: Task): readonly NamedFilters[] {
  const known = compiled.get(task);
  if (known !== undefined) return known;
  const lists = task.filter_list ?? [{ name: 'none', filter: [] }];
  const made = lists.map(({ name, filter }) => ({ name, filters: filter.map(makeFilter) }));
  compiled.set(task, made);
  return made;
}

export function judge(task: Task, question: Question, responses: readonly Response[]) {
  const kind = task.output_type;
  if (responses.some((response) => (typeof response === 'string') !== (kind === 'generate_until'))) {
    throw internalError('a score was given where a text is due, or a text where a score is');
  }
  return filtersOf(task).map(({ name, filters }) => {
    const filtered = responses.map((response) =>
      typeof response === 'string' ? filters.reduce((text, filter) => filter(text, question.row), response) : response,
    );
    const scores = filtered.filter((response) => typeof response !== 'string');
    const [text = ''] = filtered.filter((response) => typeof response === 'string');
    const values = task.metric_list.map((config): [MetricName, AnswerValue] => {
      const value = metrics[config.metric].measures[kind]?.({ ...question, scores, text }, config);
      if (value !== undefined) return [config.metric, value];
      throw internalError(`metric ${config.metric} does not judge ${kind}`);
    });
    const metricValues: Readonly<Partial<Record<string, AnswerValue>>> = Object.fromEntries(values);
    return { filter: name, filtered, metrics: metricValues };
  });
}

export interface TaskSummary {
  readonly task: string;
  readonly size: number;
  /** By "metric,filter" and "metric_stderr,filter"; "N/A" if there is no error. */
  readonly values: Readonly<Record<string, number | string>>;
}

export interface SummaryOptions {
  /** Resamples for errors without a formula. Default 100,000; 0 omits these errors. */
  readonly bootstrapIterations?: number;
}

export function summarizeJudgements(
  task: Task,
  judgements: readonly (readonly Judgement[])[],
  { bootstrapIterations = defaultBootstrapIterations }: SummaryOptions = {},
): TaskSummary {
  const values: Record<string, number | string> = { sample_len: judgements.length };
  filtersOf(task).forEach(({ name: filter }, index) => {
    for (const { metric: name } of task.metric_list) {
      const metric = metrics[name];
      const all = judgements.map((of) => of[index].metrics[name] ?? Number.NaN);
      values[`${name},${filter}`] = metric.aggregate(all);
      values[`${name}_stderr,${filter}`] = errorOf(name, all, bootstrapIterations) ?? 'N/A';
    }
  });
  return { task: task.task, size: judgements.length, values };
}

function errorOf(name: MetricName, values: readonly AnswerValue[], iterations: number): number | undefined {
  const metric = metrics[name];
  if (metric.error === 'none' || values.length <= 1) return undefined;
  if (metric.error === 'mean') return meanError(values.map(Number));
  if (iterations === 0) return undefined;
  return bootstrapError(
    values.length,
    (indices) => metric.aggregate(Array.from(indices, (index) => values[index])),
    iterations,
  );
}

/**
 * A group's numbers: the mean of its metric over questions or over tasks, with the pooled sample's error; for tasks weighted
 * by their questions also the mean over tasks, under the metric's name with `_macro`.
 *
 * @returns undefined if the group has no metric or lacks one of its tasks
 */
export function groupSummary(group: TaskGroup, summaries: ReadonlyMap<string, TaskSummary>): TaskSummary | undefined {
  if (group.metric === undefined) return undefined;
  const [metric, filter] = group.metric.split(',');
  const errorKey = `${metric}_stderr,${filter}`;
  const parts = tasksOf(group).map((name) => {
    const summary = summaries.get(name);
    const value = summary?.values[`${metric},${filter}`];
    const error = summary?.values[errorKey];
    if (summary === undefined || typeof value !== 'number') return undefined;
    return { value, error: typeof error === 'number' ? error : undefined, size: summary.size };
  });
  const known = parts.filter((part) => part !== undefined);
  if (known.length < parts.length) return undefined;
  const { value, error } = groupMean(known, { bySize: group.bySize });
  const size = known.reduce((total, part) => total + part.size, 0);
  const values: Record<string, number | string> = {
    sample_len: size,
    [group.metric]: value,
    [errorKey]: error ?? 'N/A',
  };
  if (group.bySize) values[`${metric}_macro,${filter}`] = groupMean(known, { bySize: false }).value;
  return { task: group.name, size, values };
}
