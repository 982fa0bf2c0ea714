/** Normalizes a weighted sum, by its weights or by a norm; in graphs, and in float64 for references. */
import type { Value } from '../../../graph/graph.ts';
import { sum } from '../../../graph/ops/contraction.ts';
import { cast, div, greater, maximum, mul } from '../../../graph/ops/elementwise.ts';
import { pad, split } from '../../../graph/ops/layout.ts';
import { rmsNorm } from '../../../graph/ops/normalization.ts';
import { stopGradient } from '../../../graph/ops/surrogate-gradient.ts';
import { boundedLength } from '../../normalization.ts';
import { denominatorFloor, type FeaturesMixer } from './maps.ts';
import { dot, softUnit } from '../../reference.ts';

/** ε under the root of the outputs' RMS norm. */
const outputEpsilon = 1e-6;

/** Least denominator for positive weights, which can all be close to 0. */
const leastDenominator = 1e-6;

/** `ratio`: divides by the sum of the weights, `rms` by a head's root mean square, `unit` by its length. */
type SumOutput = 'ratio' | 'rms' | 'unit' | 'none';

/**
 * Values to sum: for a ratio with a column of ones, whose sum is the denominator.
 * @param values [...,E]
 * @returns [...,E], or [...,E+1] for the ratio
 */
export function summedValues(output: SumOutput, values: Value): Value {
  return output === 'ratio' ? pad(values, -1, 0, 1, 1) : values;
}

/** Columns of a sum over values of width E. */
export function summedWidth(output: SumOutput, valueWidth: number): number {
  return valueWidth + (output === 'ratio' ? 1 : 0);
}

const norms: Readonly<Record<SumOutput, (weighted: Value, floor: number) => Value>> = {
  ratio(weighted, floor) {
    const [mixed, total] = split(weighted, -1, [Number(weighted.shape[weighted.rank - 1]) - 1, 1]);
    return div(mixed, maximum(total, floor));
  },
  rms(weighted) {
    const E = Number(weighted.shape[weighted.rank - 1]);
    const gain = weighted.graph.sharedNumbers(`ones ${E}`, [E], () => 1);
    return rmsNorm(weighted, gain, outputEpsilon);
  },
  // If no hash collides, the sum is zero and has no direction: without the mask ε's gradient of 1e5 would pass.
  unit(weighted) {
    const moves = cast(greater(sum(mul(weighted, weighted), [-1], true), 0), 'float32');
    return mul(boundedLength(weighted), stopGradient(moves));
  },
  none: (weighted) => weighted,
};

/** Normalizes a sum of `summedValues`: [...,E]. @param floor a ratio's least denominator */
export function normalizedSum(output: SumOutput, weighted: Value, floor = leastDenominator): Value {
  return norms[output](weighted, floor);
}

const rowNorms: Readonly<Record<SumOutput, (sum: Float64Array, total: number, floor: number) => Float64Array>> = {
  ratio: (row, total, floor) => row.map((x) => x / Math.max(total, floor)),
  rms: (row) => row.map((x) => x / Math.sqrt(dot(row, row) / row.length + outputEpsilon)),
  unit: (row) => softUnit(row),
  none: (row) => row,
};

/** Normalizes one row in float64, given the sum of the weights. */
export function normalizedRow(
  output: SumOutput,
  row: Float64Array,
  total: number,
  floor = leastDenominator,
): Float64Array {
  return rowNorms[output](row, total, floor);
}

/** `normalizedSum` for a `features` mixer. */
export function normalizedFeatures({ output, map }: FeaturesMixer, weighted: Value): Value {
  return normalizedSum(output, weighted, denominatorFloor(map));
}
