/** Resampling, pooled errors and correlations, by the conventions of lm-evaluation-harness and scipy. */
import { quantileSorted, range, sort } from 'd3-array';
import { average, sampleDeviation } from '../../../report/statistics.ts';
import { PythonRandom } from '../random/python-random.ts';

/** Bootstrap resamples drawn by one generator. */
const chunkSize = 1000;

/** lm-evaluation-harness's default number of resamples. */
export const defaultBootstrapIterations = 100_000;

/**
 * Standard error of a set quantity, by resampling: the deviation of the quantity over resamples of the set.
 * `Random(i).choices` draws chunk i of up to 1000 resamples, so that equal sets give equal errors.
 *
 * @param size items in the set
 * @param quantity for the items at the given indices, [size]; the array is reused
 * @param iterations resamples, a multiple of 1000 or fewer than that; a remainder is not drawn
 */
export function bootstrapError(
  size: number,
  quantity: (indices: Int32Array) => number,
  iterations: number = defaultBootstrapIterations,
): number {
  const chunk = Math.min(chunkSize, iterations);
  const chunks = Math.floor(iterations / chunk);
  const indices = new Int32Array(size);
  const results = new Float64Array(chunk * chunks);
  for (let number = 0; number < chunks; number++) {
    const random = new PythonRandom(number);
    for (let resample = 0; resample < chunk; resample++) {
      for (let i = 0; i < size; i++) indices[i] = random.choiceIndex(size);
      results[number * chunk + resample] = quantity(indices);
    }
  }
  return sampleDeviation(results);
}

/** The 95 % interval of the values' mean, by resampling (Efron, 1979): quantiles of the resampled means, interpolated. */
export function confidenceInterval(
  values: readonly number[],
  { resamples = 1000, seed = 1234 }: { resamples?: number; seed?: number } = {},
): { readonly low: number; readonly high: number } {
  const random = new PythonRandom(seed);
  const means = sort(
    Array.from({ length: resamples }, () => average(values.map(() => values[random.choiceIndex(values.length)]))),
  );
  const quantile = (share: number): number => quantileSorted(means, share) ?? Number.NaN;
  return { low: quantile(0.025), high: quantile(0.975) };
}

interface GroupPart {
  readonly value: number;
  readonly error: number | undefined;
  readonly size: number;
}

/** The mean over a group of tasks with its standard error. `bySize` weights tasks by size. */
export function groupMean(
  parts: readonly GroupPart[],
  { bySize = true }: { readonly bySize?: boolean } = {},
): { readonly value: number; readonly error: number | undefined } {
  const total = parts.reduce((sum, { size }) => sum + size, 0);
  const value = bySize
    ? parts.reduce((sum, part) => sum + part.value * part.size, 0) / total
    : average(parts.map((part) => part.value));
  return { value, error: pooledError(parts, total) };
}

/** The pooled sample's error: √(Σ(nᵢ−1)·sᵢ²·nᵢ / (Σnᵢ − m) / Σnᵢ). */
function pooledError(parts: readonly GroupPart[], total: number): number | undefined {
  let squares = 0;
  for (const { error, size } of parts) {
    if (error === undefined) return undefined;
    squares += (size - 1) * error ** 2 * size;
  }
  return Math.sqrt(squares / (total - parts.length) / total);
}

/** Not `Math.hypot(...values)`: there may be more values than a call can have arguments. */
function lengthOf(values: readonly number[]): number {
  let squares = 0;
  for (const value of values) squares += value ** 2;
  return Math.sqrt(squares);
}

/** Pearson's correlation. NaN for fewer than two pairs, or if one side is constant. */
export function pearson(x: readonly number[], y: readonly number[]): number {
  if (x.length < 2) return Number.NaN;
  const dx = centred(x);
  const dy = centred(y);
  const norm = lengthOf(dx) * lengthOf(dy);
  if (norm === 0) return Number.NaN;
  let sum = 0;
  for (let i = 0; i < dx.length; i++) sum += dx[i] * dy[i];
  return Math.max(-1, Math.min(1, sum / norm));
}

/** Spearman's correlation: Pearson's over ranks, the average rank for equal values. */
export function spearman(x: readonly number[], y: readonly number[]): number {
  return pearson(ranks(x), ranks(y));
}

function centred(values: readonly number[]): number[] {
  const centre = average(values);
  return values.map((value) => value - centre);
}

function ranks(values: readonly number[]): number[] {
  const order = range(values.length).sort((a, b) => values[a] - values[b]);
  const result = new Array<number>(values.length).fill(0);
  for (let first = 0; first < order.length; ) {
    let end = first + 1;
    while (end < order.length && values[order[end]] === values[order[first]]) end++;
    for (let i = first; i < end; i++) result[order[i]] = (first + 1 + end) / 2;
    first = end;
  }
  return result;
}
