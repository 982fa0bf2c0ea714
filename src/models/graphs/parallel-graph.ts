/** A model over whole sequences: training, perplexity, prefill measurements. */
import type { MixerParameterValues } from '../../attention/mixer.ts';
import { mixCross, mixerDims, mixerParameters, mixParallel } from '../../attention/mixers.ts';
import { scaledScoring } from '../../attention/scoring.ts';
import { internalError } from '../../errors.ts';
import type { Graph, Value } from '../../graph/graph.ts';
import { recomputed } from '../../graph/recomputed.ts';
import { pad, slice } from '../../graph/ops/layout.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import type { PositionValues } from '../../nn/positions.ts';
import {
  type AutoregressiveModel,
  byKind,
  type CausalModel,
  type DecoderInput,
  type EncoderInput,
  type LayerMixing,
  type Model,
} from '../model.ts';

/**
 * Tokens int32 [B,n] of static shape → hidden states [B,n,width] after the final norm. Positions are 0…n−1 in every row;
 * shorter sequences are padded at the end, which does not disturb them.
 * @param text the encoded text, for a decoder that reads one
 * @throws LinnetError `INPUT` for more positions than the model has
 */
export function parallelHidden(
  model: AutoregressiveModel,
  source: ParameterSource,
  tokens: Value,
  text?: Omit<DecoderInput, 'tokens'>,
): Value {
  const [batch, length] = tokens.shape.map(Number);
  const positions = constantPositions(model, source.graph, batch, length);
  const mixing: LayerMixing = {
    ...parallelMixing(parallelMix(model, source)),
    cross: text && ((layer, q) => readWhole(model, source, layer, q, text)),
  };
  return model.backbone(source, tokens, positions, mixing);
}

/** The model with layers recomputed for their gradients: keeps only the hidden states before each layer. */
export function recomputing(model: CausalModel): CausalModel {
  return {
    ...model,
    backbone: (source, tokens, positions, mixing) =>
      model.backbone(source, tokens, positions, { ...mixing, run: recomputed }),
  };
}

/** Mixes whole sequences with a model's mixers. */
export function parallelMix(
  model: Pick<AutoregressiveModel, 'mixers' | 'sizes' | 'attentionPrefix' | 'scoreScale'>,
  source: ParameterSource,
): LayerMixing['mix'] {
  return (layer, projected, scoring = scoringOf(model)) =>
    mixParallel(model.mixers[layer], projected, mixerParameterValues(model, source, layer), scoring);
}

/** Layers over whole sequences, whose positions `mix` mixes. */
export function parallelMixing(mix: LayerMixing['mix']): Pick<LayerMixing, 'mix' | 'shift'> {
  return { mix, shift: (_, features) => slice(pad(features, 1, 1, 0), 1, 0, Number(features.shape[1])) };
}

/** Tokens int32 [B,n] → logits [B,n,V]. */
export function parallelLogits(model: AutoregressiveModel, source: ParameterSource, tokens: Value): Value {
  return model.head(source, parallelHidden(model, source, tokens));
}

/** A decoder's attention to a whole encoded text. */
function readWhole(
  decoder: AutoregressiveModel,
  source: ParameterSource,
  layer: number,
  q: Value,
  { encoded, encodedMask }: Omit<DecoderInput, 'tokens'>,
): Value {
  const { cross, sizes } = decoder;
  if (cross === undefined) throw internalError('a decoder that reads no text');
  const parameters = mixerParameterValues({ ...cross, sizes }, source, layer);
  const { k, v } = cross.project(source, layer, encoded);
  return mixCross(cross.mixers[layer], { q, k, v }, encodedMask, parameters, scoringOf(decoder));
}

/** Texts as whole sequences; a model requests those that its kind has, which declares them as inputs. */
export interface ModelTexts {
  /** int32 [B,n], for generating models: the text to predict. */
  readonly tokens: () => Value;
  /** The text that an encoder reads. */
  readonly read: () => EncoderInput;
}

/** The hidden states [B,n,width] that predict tokens, for a model of any kind. */
export function wholeHidden(model: Model, source: ParameterSource, texts: ModelTexts): Value {
  return byKind(model, {
    causal: (own) => parallelHidden(own, source, texts.tokens()),
    encoder: (own) => own.encode(source, texts.read()),
    'encoder-decoder'(own) {
      const read = texts.read();
      const encoded = own.encode(source, read);
      return own.decode(source, { tokens: texts.tokens(), encoded, encodedMask: read.mask });
    },
  });
}

/** How a model makes scores, without the bias. */
export function scoringOf({ scoreScale, sizes }: Pick<AutoregressiveModel, 'scoreScale' | 'sizes'>): {
  readonly scale: number;
} {
  return scoreScale === undefined ? scaledScoring(sizes.headWidth) : { scale: scoreScale };
}

/** A layer's mixer parameters by name. */
export function mixerParameterValues(
  { mixers, sizes, attentionPrefix }: Pick<AutoregressiveModel, 'mixers' | 'sizes' | 'attentionPrefix'>,
  source: ParameterSource,
  layer: number,
): MixerParameterValues {
  const prefix = attentionPrefix(layer);
  return Object.fromEntries(
    mixerParameters(mixers[layer], mixerDims(mixers[layer], sizes)).map(({ name, shape }) => [
      name,
      source.parameter(`${prefix}.${name}`, shape),
    ]),
  );
}

/**
 * Positional values for positions 0…n−1 in every row, as graph constants.
 * @throws LinnetError `INPUT` for more positions than the model has
 */
export function constantPositions(
  model: AutoregressiveModel,
  graph: Graph,
  batch: number,
  length: number,
): PositionValues {
  const positions = Int32Array.from({ length: batch * length }, (_, i) => i % length);
  const values = model.positions.at(positions, batch, length);
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, graph.constant(value)]));
}
