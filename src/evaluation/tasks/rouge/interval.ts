/** The interval in which the mean of scores lies, by resampling them (Efron, 1979). */
import { average } from '../metrics/statistics.ts';
import { PythonRandom } from '../random/python-random.ts';

export interface IntervalOptions {
  /** Default 1000. */
  readonly resamples?: number;
  /** Default 1234. */
  readonly seed?: number;
  /** Share of resampled means inside. Default 0.95. */
  readonly confidence?: number;
}

/** Quantiles of the resampled means, between which numbers are interpolated. */
export function confidenceInterval(
  values: readonly number[],
  { resamples = 1000, seed = 1234, confidence = 0.95 }: IntervalOptions = {},
): { readonly low: number; readonly high: number } {
  const random = new PythonRandom(seed);
  const means = Array.from({ length: resamples }, () =>
    average(values.map(() => values[random.choiceIndex(values.length)])),
  ).sort((a, b) => a - b);
  const quantile = (share: number): number => {
    const place = share * (means.length - 1);
    const below = Math.floor(place);
    const above = Math.min(below + 1, means.length - 1);
    return means[below] + (means[above] - means[below]) * (place - below);
  };
  return { low: quantile((1 - confidence) / 2), high: quantile((1 + confidence) / 2) };
}
