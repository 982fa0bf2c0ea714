/** Sums over groups of tasks. */
import type { TaskSummary } from './judging.ts';
import { groupMean } from './metrics/statistics.ts';
import { type TaskGroup, tasksOf } from './registry.ts';

/**
 * The numbers of a group: the mean of its metric over questions or over tasks, with the error of the pooled sample; for
 * tasks that count by their questions also the mean over tasks, under the name of the metric with `_macro`.
 *
 * @returns undefined if the group has no metric or a task of it is missing
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
