/**
 * Initial parameters of T5 (Raffel et al., arXiv 1910.10683): deviations that keep the size of what is multiplied, and
 * queries smaller by √D, in place of the division of scores that T5 does not have.
 */
import { elementCount, type Tensor, tensor } from '../../graph/tensor.ts';
import type { Random } from '../../random.ts';
import { freshMixerParameters } from '../linearize.ts';
import type { ModelDescription } from '../model.ts';
import type { T5Config } from './config.ts';

/** Random parameters; mixers' own start at their initial values. A head of its own predicts as small logits as a tied one. */
export function drawT5Parameters(
  config: T5Config,
  model: ModelDescription,
  random: Random,
): Map<string, Tensor<'float32'>> {
  const fresh = freshMixerParameters(model);
  const { width, heads, headWidth, feedForwardWidth } = config;
  const deviations: readonly [RegExp, number][] = [
    [/^shared\./, 1],
    [/\.q\.weight$/, (width * headWidth) ** -0.5],
    [/\.o\.weight$/, (heads * headWidth) ** -0.5],
    [/\.wo\.weight$/, feedForwardWidth ** -0.5],
  ];
  const drawn = (name: string, shape: readonly number[]): Float32Array => {
    if (shape.length === 1) return new Float32Array(elementCount(shape)).fill(1);
    const deviation = deviations.find(([pattern]) => pattern.test(name))?.[1] ?? width ** -0.5;
    return Float32Array.from({ length: elementCount(shape) }, () => deviation * random.normal());
  };
  return new Map(
    [...model.parameters].map(([name, shape]) => [
      name,
      fresh.get(name) ?? tensor('float32', shape, drawn(name, shape)),
    ]),
  );
}
