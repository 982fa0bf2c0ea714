/** Means and deviations of results over seeds. */
import { average, sampleDeviation } from '../../evaluation/tasks/metrics/statistics.ts';
import { formatFixed } from '../../report/quantities.ts';

/** A number over the seeds. */
export interface OverSeeds {
  readonly mean: number;
  /** Sample standard deviation; NaN for one seed. */
  readonly deviation: number;
}

export function overSeeds(values: readonly number[]): OverSeeds {
  return { mean: average(values), deviation: sampleDeviation(values) };
}

/** "5.30 ± 0.21", without the deviation where there is none. */
export function spelledOverSeeds({ mean: centre, deviation }: OverSeeds): string {
  return `${formatFixed(centre, 2)}${Number.isFinite(deviation) ? ` ± ${formatFixed(deviation, 2)}` : ''}`;
}

/** Items with the same key, in the order in which keys first appear. */
export function groupedBy<T>(items: readonly T[], keyOf: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return [...groups.values()];
}
