/** Swapping the mixers of a model: what turns a softmax checkpoint into a linearized one, before any training. */
import { type MixerConfig, type MixerParameter, mixerParameters } from '../attention/mixer.ts';
import { LinnetError } from '../errors.ts';
import { elementCount, type Tensor, tensor } from '../graph/tensor.ts';
import type { CausalModel } from './model.ts';

const initialValues: Readonly<Record<MixerParameter['init'], (shape: readonly number[]) => Float32Array>> = {
  zeros: (shape) => new Float32Array(elementCount(shape)),
  ones: (shape) => new Float32Array(elementCount(shape)).fill(1),
  identity: (shape) => {
    const [rows, columns] = shape.slice(-2);
    return Float32Array.from({ length: elementCount(shape) }, (_, i) =>
      Math.floor(i / columns) % rows === i % columns ? 1 : 0,
    );
  },
  averages: (shape) => {
    const [rows, columns] = shape;
    return Float32Array.from({ length: elementCount(shape) }, (_, i) =>
      (i % columns) % rows === Math.floor(i / columns) ? rows / columns : 0,
    );
  },
};

/**
 * Replaces the mixers of some or all layers. Everything else is kept; the new mixers' own parameters start at their
 * initial values (α = 0, λ = 1, taps 0, learned feature maps the identity, Linformer's
 * projections averages), parameters of mixers that are gone are dropped. A layer whose mixer does not
 * change keeps its parameters.
 *
 * @param layers indices of the layers to change; default all
 * @throws LinnetError `CONFIG` for a layer the model does not have
 */
export function linearize(
  model: CausalModel,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  mixer: MixerConfig,
  layers: readonly number[] = model.mixers.map((_, layer) => layer),
): { model: CausalModel; parameters: Map<string, Tensor<'float32'>> } {
  for (const layer of layers) {
    if (model.mixers[layer] === undefined) {
      throw new LinnetError(
        'CONFIG',
        `there is no layer ${layer}; the model has layers 0 to ${model.mixers.length - 1}`,
      );
    }
  }
  const mixers = model.mixers.map((old, layer) => (layers.includes(layer) ? mixer : old));
  const changed = model.withMixers(mixers);
  const fresh = freshMixerParameters(changed);
  const kept = new Map<string, Tensor<'float32'>>();
  for (const [name, shape] of changed.parameters) {
    const old = parameters.get(name);
    const value = old !== undefined && String(old.shape) === String(shape) ? old : fresh.get(name);
    if (value === undefined) throw new LinnetError('TENSOR', `parameter "${name}" [${shape.join(',')}] is missing`);
    kept.set(name, value);
  }
  return { model: changed, parameters: kept };
}

/** The mixers' own parameters at their initial values, by full name. */
export function freshMixerParameters(model: CausalModel): Map<string, Tensor<'float32'>> {
  const fresh = new Map<string, Tensor<'float32'>>();
  model.mixers.forEach((mixer, layer) => {
    for (const { name, shape, init } of mixerParameters(mixer, model.sizes)) {
      fresh.set(`${model.attentionPrefix(layer)}.${name}`, tensor('float32', shape, initialValues[init](shape)));
    }
  });
  return fresh;
}
