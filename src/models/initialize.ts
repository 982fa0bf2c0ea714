/** Random parameters, for pre-training and for models of a given shape without weights. */
import { elementCount, type Tensor, tensor } from '../graph/tensor.ts';
import type { Random } from '../random.ts';
import { freshMixerParameters } from './linearize.ts';
import type { ModelDescription } from './model.ts';

/**
 * Normal(0, deviation) for matrices, ones for norm gains, zeros for biases, and the mixers' own initial values. The projections that
 * write to the residual stream are scaled down by √(2·layers), as in GPT-2.
 *
 * A family that draws its own parameters is left to it, unless a deviation is given.
 *
 * @param deviation default 0.02, the `initializer_range` of Hugging Face configurations
 * @example
 * ```ts
 * const model = describeModel(modelPreset('llama-small'));
 * const parameters = initializeParameters(model, new Random(1));
 * ```
 */
export function initializeParameters(
  model: ModelDescription,
  random: Random,
  deviation?: number,
): Map<string, Tensor<'float32'>> {
  if (deviation === undefined && model.drawParameters !== undefined) return model.drawParameters(random);
  return normalParameters(model, random, deviation ?? 0.02);
}

function normalParameters(model: ModelDescription, random: Random, deviation: number): Map<string, Tensor<'float32'>> {
  const fresh = freshMixerParameters(model);
  const parameters = new Map<string, Tensor<'float32'>>();
  const residual = deviation / Math.sqrt(2 * model.sizes.layers);
  for (const [name, shape] of model.parameters) {
    parameters.set(
      name,
      fresh.get(name) ?? tensor('float32', shape, initialValues(name, shape, random, deviation, residual)),
    );
  }
  return parameters;
}

function initialValues(
  name: string,
  shape: readonly number[],
  random: Random,
  deviation: number,
  residual: number,
): Float32Array {
  const data = new Float32Array(elementCount(shape));
  if (name.endsWith('.bias')) return data;
  if (shape.length === 1) return data.fill(1);
  const scale = /\.(o_proj|down_proj|c_proj|o|wo)\.weight$/.test(name) ? residual : deviation;
  for (let i = 0; i < data.length; i++) data[i] = scale * random.normal();
  return data;
}
