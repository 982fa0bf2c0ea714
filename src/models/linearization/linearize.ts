/** Swaps a model's mixers: turns a softmax checkpoint into a linearized one, before any training. */
import type { Branch, MixerConfig, Reading } from '../../attention/mixer.ts';
import {
  betweenTexts,
  convolutionOf,
  isExchangeable,
  mixerDims,
  mixerParameters,
  parseMixer,
  withoutBranch,
} from '../../attention/mixers.ts';
import type { MixerParameter } from '../../attention/attention-layer.ts';
import { initialParameter } from '../../attention/parameter-init.ts';
import { LinnetError, OptionsError } from '../../errors.ts';
import { requireKind, requireNumbers, requireOptions, requireTexts, requireWhole } from '../../files/arguments.ts';
import {
  type DeferredTensor,
  type Tensor,
  type WeightMap,
  type Weights,
  sameShape,
  tensor,
} from '../../graph/tensor.ts';
import { type AttentionPart, isSame } from '../config-fields.ts';
import {
  type CausalModel,
  type EncoderDecoderModel,
  type EncoderModel,
  type Model,
  type ModelDescription,
  byKind,
  partReadings,
} from '../model.ts';
import { defaultGroup } from '../../attention/preset.ts';
import {
  type PresetOptions,
  allReadings,
  localKernelFor,
  mixerPresetReading,
  takenOptions,
} from '../../attention/presets.ts';

/** A model whose mixers can be replaced while its kind stays the same. */
interface Remixable<Described> {
  withMixers(mixers: readonly MixerConfig[]): Described;
}

/**
 * Replaces the mixers of some or all layers and keeps everything else. Drops the replaced mixers' parameters; new mixers'
 * parameters start at their initial values (α = 0, λ = 1, filters 0, learned feature maps the identity, Linformer's
 * projections averages), even if the old mixer had some with the same name. A layer whose mixer does not change keeps its
 * parameters.
 *
 * @param given indices of layers to change; default all that can have another mixer
 * @throws LinnetError `CONFIG` for a layer the model does not have, `TENSOR` for a missing parameter
 */
export function linearize<Described extends Remixable<Described> & ModelDescription>(
  model: Described,
  parameters: Weights,
  mixer: MixerConfig,
  given?: readonly number[],
): { model: Described; parameters: WeightMap } {
  requireKind(parameters, 'the parameters', ['get', 'keys'], 'a map of tensors');
  const changed = exchangeMixers(model, mixer, given);
  return { model: changed, parameters: exchangedParameters(model, changed, parameters) };
}

/** The description that `linearize` returns. @throws LinnetError `CONFIG` for a layer the model does not have */
export function exchangeMixers<Described extends Remixable<Described> & ModelDescription>(
  model: Described,
  mixer: MixerConfig,
  given?: readonly number[],
): Described {
  requireKind(model, 'the model', ['mixers', 'withMixers'], 'a model');
  const layers = given === undefined ? exchangeableLayers(model) : requireNumbers(given, 'layers');
  for (const layer of layers) {
    if (model.mixers[layer] === undefined) {
      throw new LinnetError(
        'CONFIG',
        `there is no layer ${layer}; the model has layers 0 to ${model.mixers.length - 1}`,
      );
    }
  }
  return model.withMixers(model.mixers.map((old, layer) => (layers.includes(layer) ? parseMixer(mixer) : old)));
}

/** A parameter in memory, or one that is read on demand. */
export type ParameterTensor = Tensor<'float32'> | DeferredTensor<'float32'>;

/**
 * Parameters of a model with exchanged mixers: new for changed mixers, the original's for the rest.
 * @throws LinnetError `TENSOR` for a missing parameter
 */
export function exchangedParameters(
  original: ModelDescription,
  changed: ModelDescription,
  parameters: Weights,
): WeightMap;
export function exchangedParameters(
  original: ModelDescription,
  changed: ModelDescription,
  parameters: ReadonlyMap<string, ParameterTensor>,
): Map<string, ParameterTensor>;
export function exchangedParameters(
  original: ModelDescription,
  changed: ModelDescription,
  parameters: ReadonlyMap<string, ParameterTensor>,
): Map<string, ParameterTensor> {
  const layers = [...changed.mixers.keys()];
  const fresh = freshMixerParameters(
    changed,
    layers.filter((layer) => !isSame(original.mixers[layer], changed.mixers[layer])),
  );
  const exchanged = new Map<string, ParameterTensor>();
  for (const [name, { shape }] of changed.parameters) {
    const value = fresh.get(name) ?? parameters.get(name);
    if (value === undefined) throw new LinnetError('TENSOR', `parameter "${name}" [${shape.join(',')}] is missing`);
    exchanged.set(name, fresh.has(name) ? value : fitted(changed, name, shape, value));
  }
  for (const name of changed.optionalParameters?.keys() ?? []) {
    const value = parameters.get(name);
    if (value !== undefined) exchanged.set(name, value);
  }
  return exchanged;
}

function fitted(
  { fitParameter }: ModelDescription,
  name: string,
  shape: readonly number[],
  value: ParameterTensor,
): ParameterTensor {
  if (fitParameter === undefined) return value;
  if ('data' in value) return fitParameter(name, value);
  if (sameShape(value.shape, shape)) return value;
  return { dtype: 'float32', shape, load: async () => fitParameter(name, await value.load()) };
}

/** The model with this mixer in all layers that can have one other than the family's own, except those that are kept. */
export function withMixer<Described>(
  model: Remixable<Described> & Layered,
  mixer: MixerConfig,
  kept: readonly number[] = [],
): Described {
  const changed = exchangeableLayers(model).filter((layer) => !kept.includes(layer));
  return model.withMixers(model.mixers.map((own, layer) => (changed.includes(layer) ? mixer : own)));
}

type Layered = Pick<ModelDescription, 'mixers' | 'localLayers'>;

/** The layers that change by default: those that can have another mixer, except a model's own windows. */
export function exchangeableLayers({ mixers, localLayers = [] }: Layered): number[] {
  return mixers.flatMap((mixer, layer) => (isExchangeable(mixer) && !localLayers.includes(layer) ? [layer] : []));
}

/** Those layers' mixers. */
export function exchangeableMixers(model: Layered): MixerConfig[] {
  return exchangeableLayers(model).map((layer) => model.mixers[layer]);
}

/** The parameters that mixers of some layers (default all) add to their attention, by full name. */
export function parametersOfMixers(
  model: ModelDescription,
  layers: Iterable<number> = model.mixers.keys(),
): Map<string, MixerParameter> {
  const parameters = new Map<string, MixerParameter>();
  for (const layer of layers) {
    const mixer = model.mixers[layer];
    for (const parameter of mixerParameters(mixer, mixerDims(mixer, model.sizes))) {
      parameters.set(`${model.attentionPrefix(layer)}.${parameter.name}`, parameter);
    }
  }
  return parameters;
}

/** The same parameters at their initial values. */
export function freshMixerParameters(model: ModelDescription, layers?: Iterable<number>): WeightMap {
  const parameters = [...parametersOfMixers(model, layers)];
  return new Map(
    parameters.map(([name, { shape, init }]) => [name, tensor('float32', shape, initialParameter(init, shape))]),
  );
}

/** Parts linearized by default: cross attention costs the least and loses the most. */
export const defaultParts: readonly AttentionPart[] = ['encoder', 'decoder'];

/** Parts of a model that change, by default `defaultParts`, and each part's layers, by default all. */
interface ChangedParts {
  readonly parts?: readonly AttentionPart[];
  readonly layers?: readonly number[];
}

/** A model's description with another mixer in some parts. @throws LinnetError `CONFIG` for a layer that a part does not have */
function exchangeParts(
  model: EncoderDecoderModel,
  mixerOf: (part: AttentionPart) => MixerConfig,
  { parts = defaultParts, layers }: ChangedParts,
): EncoderDecoderModel {
  let result = model;
  for (const part of parts) {
    const own = model.attentions.flatMap((attention, index) =>
      attention.part === part ? [{ ...attention, index }] : [],
    );
    const missing = layers?.find((layer) => layer >= own.length);
    if (missing !== undefined) {
      throw new LinnetError(
        'CONFIG',
        `there is no layer ${missing} in ${part} attention; its layers are 0 to ${own.length - 1}`,
      );
    }
    const chosen = own.filter(({ layer }) => layers === undefined || layers.includes(layer)).map(({ index }) => index);
    const mixer = mixerOf(part);
    result = exchangeMixers(result, part === 'cross' ? betweenTexts(mixer) : mixer, chosen);
  }
  return result;
}

/**
 * The model without one branch of its mixers. Its parameters are a subset of the model's, unchanged.
 * @throws LinnetError `CONFIG` if no mixer has the branch
 */
export function modelWithout(model: CausalModel, branch: Branch): CausalModel {
  const rest = model.mixers.map((mixer) => withoutBranch(mixer, branch));
  if (rest.every((mixer) => mixer === undefined)) {
    throw new LinnetError('CONFIG', `no mixer of the model has a ${branch} that can be switched off`);
  }
  return model.withMixers(model.mixers.map((mixer, layer) => rest[layer] ?? mixer));
}

// Linearizes any kind of model by a preset's name; the mixer depends on the reading: causal, whole text or cross.

/** Which mixer replaces attention, and where. */
export interface LinearizeOptions extends PresetOptions {
  /** Indices of the layers that change. Default: all that can have another mixer. */
  readonly layers?: readonly number[];
  /**
   * How many of these layers, from the first, get softmax inside blocks of `group` positions instead of the mixer, as in
   * TransNormer. Default 0.
   */
  readonly softmaxLayers?: number;
  /** Which attentions of an encoder-decoder model change. Default: encoder and decoder. */
  readonly attention?: readonly AttentionPart[];
}

/** K in the paper's T5. */
const t5Kernel = 9;

/**
 * A model's description with another mixer: its form for the past in causal models, its form for whole texts in encoders,
 * each in its place in models with both.
 * @param mixer a preset's name, or a configuration
 * @throws LinnetError `CONFIG` for a mixer that the model cannot have, or for parts that it lacks
 */
export function exchangeByName(model: Model, mixer: string | MixerConfig, options: LinearizeOptions): Model {
  requireOptions(options, 'the options of linearize', {
    layers: requireNumbers,
    attention: requireTexts,
    softmaxLayers: requireWhole,
  });
  const { layers, attention, softmaxLayers = 0, ...preset } = options;
  const configured = (reads: Reading, options: PresetOptions, others: readonly Reading[] = []): MixerConfig => {
    if (typeof mixer !== 'string') return parseMixer(mixer);
    const localKernel = options.localKernel ?? localKernelFor(exchangeableMixers(model), mixer);
    return mixerPresetReading(reads, mixer, { ...options, localKernel }, others);
  };
  const inLayers = (own: CausalModel | EncoderModel, reads: Reading): Model => {
    if (attention !== undefined) {
      throw new OptionsError(
        `\`attention\` is for models with an encoder and a decoder; a ${own.family} model has one attention per layer`,
      );
    }
    // Softmax layers have the same group, even next to a mixer that takes none.
    const taken = softmaxLayers > 0 && typeof mixer === 'string' ? takenOptions(mixer, preset) : preset;
    const chosen = configured(reads, taken);
    const changed = layers ?? exchangeableLayers(own);
    const mixed = exchangeMixers<CausalModel | EncoderModel>(own, chosen, changed.slice(softmaxLayers));
    const { group = defaultGroup } = preset;
    const blocks = { kind: 'linear', group, local: { kernel: 'softmax' }, convolution: convolutionOf(chosen) };
    return exchangeMixers(mixed, parseMixer(blocks), changed.slice(0, softmaxLayers));
  };
  return byKind(model, {
    causal: (own) => inLayers(own, 'past'),
    encoder: (own) => inLayers(own, 'whole'),
    'encoder-decoder'(own) {
      if (softmaxLayers > 0) throw new OptionsError('`softmaxLayers` is for models that have one mixer per layer');
      const usual =
        typeof mixer === 'string' && preset.kernel === undefined ? takenOptions(mixer, { kernel: t5Kernel }) : {};
      const mixerOf = (part: AttentionPart): MixerConfig =>
        configured(partReadings[part], { ...preset, ...usual }, allReadings);
      return exchangeParts(own, mixerOf, { parts: attention, layers });
    },
  });
}
