/** Random parameters, for pre-training and for models of a given shape without weights. */
import { type Tensor, tensor, type WeightMap } from '../graph/tensor.ts';
import { type DeclaredParameter, type InitialValues, consequencesOf, drawValues } from '../nn/parameters.ts';
import type { Random } from '../random.ts';
import { freshMixerParameters } from './linearization/linearize.ts';
import type { ModelDescription } from './model.ts';

/** The `initializer_range` of Hugging Face configurations. */
const defaultDeviation = 0.02;

/**
 * Random parameters, from the distribution that the family declares for its reference, else by role: Normal(0, deviation)
 * for matrices, ones for norm gains, zeros for biases. Projections that write to the residual stream are scaled down by
 * √(2·layers), as in GPT-2; mixers' parameters start at the mixers' own initial values.
 *
 * @param deviation default 0.02, or the family's declared one; if given, roles alone decide
 * @example
 * ```ts
 * const model = describeModel(modelPreset('llama-small'));
 * const parameters = initializeParameters(model, new Random(1));
 * ```
 */
export function initializeParameters(model: ModelDescription, random: Random, deviation?: number): WeightMap {
  const fresh = freshMixerParameters(model);
  const parameters: WeightMap = new Map();
  for (const [name, parameter] of model.parameters) {
    const declared = deviation === undefined ? parameter.initial : undefined;
    const own = declared === undefined ? fresh.get(name) : undefined;
    parameters.set(name, own ?? freshParameter(parameter, { random, layers: model.sizes.layers, deviation, declared }));
  }
  return parameters;
}

interface FreshOptions {
  readonly random: Random;
  readonly layers: number;
  readonly deviation?: number;
  readonly declared?: InitialValues;
}

/**
 * A parameter with initial values.
 * @param layers of the model; with more, residual outputs start smaller
 * @param declared default: by role
 */
export function freshParameter(
  { shape, role }: DeclaredParameter,
  { random, layers, deviation = defaultDeviation, declared }: FreshOptions,
): Tensor<'float32'> {
  const byRole: Readonly<Record<ReturnType<typeof consequencesOf>['fresh'], InitialValues>> = {
    zeros: { constant: 0 },
    ones: { constant: 1 },
    normal: { normal: deviation },
    residual: { normal: deviation / Math.sqrt(2 * layers) },
    mixer: { constant: 0 },
  };
  return tensor('float32', shape, drawValues(declared ?? byRole[consequencesOf(role).fresh], shape, random));
}
