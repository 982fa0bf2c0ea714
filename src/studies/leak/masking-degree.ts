/**
 * A mask of the convolution that is not all or nothing: filter weights of the future multiplied by 1 − s. Wrong on purpose
 * for every s below 1, so it is made here, of parameters, and no mixer knows it.
 */
import { convolutionReach, filterName } from '../../attention/convolution-config.ts';
import { mul } from '../../graph/ops/elementwise.ts';
import { dataOf, type Tensor, tensor } from '../../graph/tensor.ts';
import type { ParameterSource } from '../../nn/parameters.ts';

/**
 * Parameters whose filters are masked to a degree, for a model whose convolution is not masked.
 * @param strength s, from 0 to 1
 */
export function maskedToDegree(source: ParameterSource, strength: number): ParameterSource {
  if (strength === 0) return source;
  const { graph } = source;
  return {
    graph,
    multiply: source.multiply?.bind(source),
    lookUp: source.lookUp?.bind(source),
    parameter(name, shape) {
      const value = source.parameter(name, shape);
      if (!isFilter(name)) return value;
      const K = shape[2];
      const factors = graph.sharedConstant(`mask of degree ${strength}, K=${K}`, () =>
        tensor('float32', [1, 1, K, 1], Float32Array.from(degrees(K, strength))),
      );
      return mul(value, factors);
    },
  };
}

/** The same of tensors. */
export function maskedTensors(
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  strength: number,
): Map<string, Tensor<'float32'>> {
  return new Map(
    [...parameters].map(([name, value]) => {
      if (!isFilter(name)) return [name, value];
      const factors = degrees(value.shape[2], strength);
      const data = dataOf(value, 'float32').map((weight, at) => weight * factors[at % factors.length]);
      return [name, tensor('float32', value.shape, data)];
    }),
  );
}

function isFilter(name: string): boolean {
  return name.endsWith(filterName);
}

/** Factors of the K filter weights; the weights after the centre read the future. */
function degrees(K: number, strength: number): number[] {
  return Array.from({ length: K }, (_, at) => (at > convolutionReach(K) ? 1 - strength : 1));
}
