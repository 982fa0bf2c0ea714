/** Normalization of a feature mixer's weighted sum: division by its weights, or a norm. */
import type { Value } from '../../../graph/graph.ts';
import { sum } from '../../../graph/ops/contraction.ts';
import { cast, div, greater, maximum, mul } from '../../../graph/ops/elementwise.ts';
import { tensor } from '../../../graph/tensor.ts';
import { pad, split } from '../../../graph/ops/layout.ts';
import { rmsNorm } from '../../../graph/ops/normalization.ts';
import { stopGradient } from '../../../graph/ops/surrogate-gradient.ts';
import { boundedLength } from '../../normalization.ts';
import { denominatorFloor, type FeaturesMixer } from './maps.ts';

/** ε under the root of the RMS norm of outputs. */
export const outputEpsilon = 1e-6;

/**
 * Values as they are summed: for the ratio with a column of ones, whose sum is the denominator.
 * @param values [...,E]
 * @returns [...,E], or [...,E+1] for the ratio
 */
export function summedValues({ output }: Pick<FeaturesMixer, 'output'>, values: Value): Value {
  if (output !== 'ratio') return values;
  return pad(values, -1, 0, 1, 1);
}

const norms: Readonly<Record<FeaturesMixer['output'], (weighted: Value, floor: number) => Value>> = {
  ratio(weighted, floor) {
    const [mixed, total] = split(weighted, -1, [Number(weighted.shape[weighted.rank - 1]) - 1, 1]);
    return div(mixed, maximum(total, floor));
  },
  rms(weighted) {
    const E = Number(weighted.shape[weighted.rank - 1]);
    const gain = weighted.graph.sharedConstant(`ones ${E}`, () => tensor('float32', [E], new Float32Array(E).fill(1)));
    return rmsNorm(weighted, gain, outputEpsilon);
  },
  // Where no hash collides, the sum is zero and has no direction: without the mask ε's gradient of 1e5 would pass.
  unit(weighted) {
    const moves = cast(greater(sum(mul(weighted, weighted), [-1], true), 0), 'float32');
    return mul(boundedLength(weighted), stopGradient(moves));
  },
};

/** The output [...,E] of a sum of `summedValues`. */
export function normalizedSum(config: FeaturesMixer, weighted: Value): Value {
  return norms[config.output](weighted, denominatorFloor(config.map));
}
