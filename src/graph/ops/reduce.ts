/** Means, maxima and sums of squares over axes. */
import type { Value } from '../graph.ts';
import { multiplyDims, normalizeAxis, shapeError } from '../tensor.ts';
import { broadcastTo, defineReduction, sum } from './contraction.ts';
import { cast, div, equal, exp, mul } from './elementwise.ts';

/** The largest element over `axes` (default: all). Equal maxima share the gradient. */
export const max = defineReduction('max', (x, y, dy) => {
  const largest = cast(equal(x, y), 'float32');
  const axes = x.shape.flatMap((dim, axis) => (y.shape[axis] === dim ? [] : [axis]));
  return mul(largest, div(dy, sum(largest, axes, true)));
});

/** The sum of squares over `axes` (default: all). Over the last axis alone, sum(mul(x, x)) is three times faster on CPU. */
export const sumSquare = defineReduction('sumSquare', (x, _y, dy) => mul(mul(x, 2), dy));

/** The logarithm of the sum over `axes` (default: all). Unlike `log`'s, its bits do not depend on a sum's place among others. */
export const logSum = defineReduction('logSum', (x, y, dy) => broadcastTo(div(dy, exp(y)), x.shape));

/** The mean over `axes`, which must have static sizes. */
export function mean(x: Value, axes: readonly number[], keepDims = false): Value {
  const count = multiplyDims(...axes.map((axis) => x.shape[normalizeAxis('mean', axis, x.rank)]));
  if (typeof count !== 'number') throw shapeError('mean', `axes ${axes.join(',')} of ${x} are not of static size`);
  return mul(sum(x, axes, keepDims), 1 / count);
}
