/** What becomes of the weighted sum of a mixer of features: division by its weights, or a norm. */
import type { Value } from '../../graph/graph.ts';
import { add, div, maximum } from '../../graph/ops/elementwise.ts';
import { pad, split } from '../../graph/ops/layout.ts';
import { rmsNorm } from '../../graph/ops/normalization.ts';
import { tensor } from '../../graph/tensor.ts';
import { boundedLength } from '../bounded-length.ts';
import type { FeaturesMixer } from '../mixer.ts';
import { denominatorFloor, outputEpsilon } from './feature-config.ts';

/**
 * Values as they are summed: for the ratio with a column of ones, whose sum is the denominator.
 * @param values [...,E]
 * @returns [...,E], or [...,E+1] for the ratio
 */
export function summedValues({ output }: FeaturesMixer, values: Value): Value {
  if (output !== 'ratio') return values;
  const E = Number(values.shape[values.rank - 1]);
  const one = values.graph.sharedConstant(`one after ${E}`, () => {
    const row = new Float32Array(E + 1);
    row[E] = 1;
    return tensor('float32', [E + 1], row);
  });
  return add(pad(values, -1, 0, 1), one);
}

const norms: Readonly<Record<FeaturesMixer['output'], (sum: Value, floor: number) => Value>> = {
  ratio(sum, floor) {
    const [mixed, total] = split(sum, -1, [Number(sum.shape[sum.rank - 1]) - 1, 1]);
    return div(mixed, maximum(total, floor));
  },
  rms(sum) {
    const E = Number(sum.shape[sum.rank - 1]);
    const gain = sum.graph.sharedConstant(`ones ${E}`, () => tensor('float32', [E], new Float32Array(E).fill(1)));
    return rmsNorm(sum, gain, outputEpsilon);
  },
  unit: (sum) => boundedLength(sum),
};

/** The output [...,E] of a sum of `summedValues`. */
export function normalizedSum(config: FeaturesMixer, sum: Value): Value {
  return norms[config.output](sum, denominatorFloor(config.map));
}
