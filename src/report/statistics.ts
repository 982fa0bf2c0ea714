/** Groups and means of samples, and how far means are to be trusted. */
import { group } from 'd3-array';

/** Items with the same key, in the order in which keys first appear. */
export function groupedBy<T>(items: readonly T[], keyOf: (item: T) => string | number): T[][] {
  return [...group(items, keyOf).values()];
}

/** Items in at most `most` stretches of neighbours, all of one length but the last. */
export function stretchesOf<T>(items: readonly T[], most: number): T[][] {
  const length = Math.max(1, Math.ceil(items.length / most));
  return Array.from({ length: Math.ceil(items.length / length) }, (_, i) => items.slice(i * length, (i + 1) * length));
}

export function average(values: Iterable<number> & { readonly length: number }): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

/** Standard deviation of a sample, with n − 1. */
export function sampleDeviation(values: Iterable<number> & { readonly length: number }): number {
  const mean = average(values);
  let squares = 0;
  for (const value of values) squares += (value - mean) ** 2;
  return Math.sqrt(squares / (values.length - 1));
}

/** Standard error of a mean: deviation / √n. */
export function meanError(values: readonly number[]): number {
  return sampleDeviation(values) / Math.sqrt(values.length);
}
