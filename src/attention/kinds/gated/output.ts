/** Normalization of a gated mixer's decayed sum. */
import type { Value } from '../../../graph/graph.ts';
import { div, maximum } from '../../../graph/ops/elementwise.ts';
import { split } from '../../../graph/ops/layout.ts';
import { rmsNorm } from '../../../graph/ops/normalization.ts';
import { tensor } from '../../../graph/tensor.ts';
import { dot } from '../../reference.ts';
import { outputEpsilon, summedValues } from '../features/output.ts';
import type { GatedMixer } from './config.ts';

type Output = GatedMixer['output'];

/** Least denominator: sums decay, and weights of positive features can all be close to 0. */
const leastWeight = 1e-6;

/** Values as they are summed: for the ratio with a column of ones, whose sum is the denominator. */
export function summed(output: Output, values: Value): Value {
  return output === 'ratio' ? summedValues({ output }, values) : values;
}

/** Columns of a sum, of values of width E. */
export function summedWidth(output: Output, valueWidth: number): number {
  return valueWidth + (output === 'ratio' ? 1 : 0);
}

const outputs: Readonly<Record<Output, (weighted: Value) => Value>> = {
  ratio(weighted) {
    const [mixed, total] = split(weighted, -1, [Number(weighted.shape[weighted.rank - 1]) - 1, 1]);
    return div(mixed, maximum(total, leastWeight));
  },
  rms: rmsOfHeads,
  none: (weighted) => weighted,
};

/** Every row [...,E] divided by its root mean square. */
export function rmsOfHeads(rows: Value): Value {
  const E = Number(rows.shape[rows.rank - 1]);
  const gain = rows.graph.sharedConstant(`ones ${E}`, () => tensor('float32', [E], new Float32Array(E).fill(1)));
  return rmsNorm(rows, gain, outputEpsilon);
}

/** The output [...,E] of a sum of `summed` values. */
export function outputOf(output: Output, weighted: Value): Value {
  return outputs[output](weighted);
}

/** A row divided by its root mean square, in float64. */
export function rmsOfRow(row: Float64Array): Float64Array {
  return row.map((x) => x / Math.sqrt(dot(row, row) / row.length + outputEpsilon));
}

/** The output of a sum, given the sum of the weights, in float64. */
export const referenceOutputs: Readonly<Record<Output, (sum: Float64Array, total: number) => Float64Array>> = {
  ratio: (sum, total) => sum.map((x) => x / Math.max(total, leastWeight)),
  rms: rmsOfRow,
  none: (sum) => sum,
};
