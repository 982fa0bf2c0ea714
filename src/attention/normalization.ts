/** Normalizes branch outputs: factors, and vectors of at most unit length. */
import type { Value } from '../graph/graph.ts';
import { sum } from '../graph/ops/contraction.ts';
import { add, addAll, div, mul, sqrt } from '../graph/ops/elementwise.ts';
import { unitLength } from '../graph/ops/normalization.ts';

/** ε in the NORM variants: x / (ε + ‖x‖). */
const normEpsilon = 1e-5;

/** Added to the sum of weights in a division: if all weights are near 0, so is their mean of values. */
export const weightFloor = 1e-3;

/** Divides weights over lists of keys, each [..., any] and non-negative, by their sum over all lists plus `weightFloor`. */
export function dividedBySum(
  weights: readonly Value[],
  sums = weights.map((weight) => sum(weight, [-1], true)),
): Value[] {
  const total = add(addAll(sums), weightFloor);
  return weights.map((weight) => div(weight, total));
}

/** x / (ε + ‖x‖) per vector; ε defaults to 1e-5. The tiny constant under the root keeps zero vectors' gradient zero. */
export function boundedLength(x: Value, epsilon = normEpsilon): Value {
  const squared = sum(mul(x, x), [-1], true);
  return div(x, add(sqrt(add(squared, 1e-30)), epsilon));
}

/** `x` times a learned factor, if any. */
export function scaled(x: Value, factor: Value | undefined): Value {
  return factor === undefined ? x : mul(x, factor);
}

/** Castling: x / ‖x‖ with x = ½v + mixed/π. */
export function castle(mixed: Value | undefined, values: Value): Value {
  const half = mul(values, 0.5);
  return unitLength(mixed === undefined ? half : add(half, mul(mixed, 1 / Math.PI)));
}
