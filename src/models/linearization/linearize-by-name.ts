/** Linearizing a model of any kind by the name of a preset, whose mixer depends on the reading: causal, whole text or cross. */
import type { MixerConfig, Reading } from '../../attention/mixer.ts';
import { convolutionOf, parseMixer } from '../../attention/mixers.ts';
import { defaultGroup } from '../../attention/preset.ts';
import {
  allReadings,
  localKernelFor,
  mixerPresetReading,
  type PresetOptions,
  takenOptions,
} from '../../attention/presets.ts';
import { OptionsError } from '../../errors.ts';
import { requireNumbers, requireOptions, requireTexts } from '../../files/arguments.ts';
import type { WeightMap, Weights } from '../../graph/tensor.ts';
import {
  exchangeableLayers,
  exchangeableMixers,
  exchangedParameters,
  exchangeMixers,
  exchangeParts,
} from './linearize.ts';
import type { AttentionPart } from '../linnet-section.ts';
import { byKind, type CausalModel, type EncoderModel, type Model, partReadings } from '../model.ts';

/** Which mixer replaces attention, and where. */
export interface LinearizeOptions extends PresetOptions {
  /** Indices of the layers that change. Default all that can have another mixer. */
  readonly layers?: readonly number[];
  /**
   * How many of these layers, the first ones, get softmax inside blocks of `group` positions instead of the mixer, as
   * TransNormer has it. Default 0.
   */
  readonly softmaxLayers?: number;
  /** Of encoder-decoder models, which attentions change. Default encoder and decoder. */
  readonly attention?: readonly AttentionPart[];
}

/** K of the paper's T5. */
const t5Kernel = 9;

/**
 * The model with another mixer: in causal models one that reads the past, in encoders the form of it that reads whole texts,
 * in models with both, each where it belongs.
 * @param mixer the name of a preset, or a configuration
 * @throws LinnetError `CONFIG` for a mixer that the model cannot have or parts that it does not have
 */
export function linearizeByName(
  model: Model,
  parameters: Weights,
  mixer: string | MixerConfig,
  options: LinearizeOptions,
): { readonly model: Model; readonly parameters: WeightMap } {
  const changed = exchangeByName(model, mixer, options);
  return { model: changed, parameters: exchangedParameters(model, changed, parameters) };
}

/** The description that `linearizeByName` gives. */
export function exchangeByName(model: Model, mixer: string | MixerConfig, options: LinearizeOptions): Model {
  requireOptions(options, 'the options of linearize');
  const { layers, attention, softmaxLayers = 0, ...preset } = options;
  if (layers !== undefined) requireNumbers(layers, 'layers');
  if (attention !== undefined) requireTexts(attention, 'attention');
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
    // Layers of softmax have the same group, also next to a mixer that takes none.
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
