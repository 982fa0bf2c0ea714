/**
 * T5 (Raffel et al., arXiv 1910.10683): an encoder and a decoder of pre-norm blocks with RMS norms and no biases,
 * attention without scaling, and one table of relative biases per stack that all of its blocks share.
 */
import type { MixerConfig } from '../../attention/mixer.ts';
import type { ProjectedPositions } from '../../attention/mixer-values.ts';
import type { Value } from '../../graph/graph.ts';
import { add, mul } from '../../graph/ops/elementwise.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { rmsNorm } from '../../graph/ops/normalization.ts';
import { embedding, linear } from '../../nn/linear.ts';
import { type ParameterSource, scoped } from '../../nn/parameters.ts';
import { configError } from '../config-fields.ts';
import { type PartMixers, withPartSection } from '../linnet-section.ts';
import type { DecoderInput, EncoderDecoderModel, EncoderInput } from '../model.ts';
import { crossAttention, decoderAttention, encoderAttention, mountMixer, stackBias } from './attention.ts';
import { parseT5Config, type T5Config, t5FeedForward } from './config.ts';
import { drawT5Parameters } from './initialize.ts';
import {
  attentionName,
  attentionsOf,
  crossAttentionLayer,
  feedForwardLayer,
  mixerSizes,
  selfAttentionLayer,
  type Stack,
  stackLayers,
  t5ParameterName,
  t5Parameters,
} from './parameters.ts';

/** A T5 model and its configuration. */
export interface T5Model extends EncoderDecoderModel {
  readonly config: T5Config;
  withMixers(mixers: readonly MixerConfig[]): T5Model;
}

/** The model of a config.json. @throws LinnetError `CONFIG` as `parseT5Config` does */
export function t5Model(json: Readonly<Record<string, unknown>>): T5Model {
  return describe(parseT5Config(json));
}

function describe(config: T5Config): T5Model {
  const attentions = attentionsOf(config);
  const model: T5Model = {
    family: 't5',
    kind: 'encoder-decoder',
    config,
    sizes: {
      layers: config.encoderLayers + config.decoderLayers,
      width: config.width,
      ...mixerSizes(config),
      vocabulary: config.vocabulary,
      trainedLength: config.trainedLength,
    },
    attentions,
    mixers: attentions.map(({ mixer }) => mixer),
    parameters: t5Parameters(config),
    startId: config.startId,
    padId: config.padId,
    eosIds: config.eosIds,
    toJson: () => withPartSection(config.raw, config.mixers, config.padding),
    withMixers: (mixers) => t5Model(withPartSection(config.raw, inParts(config, mixers), config.padding)),
    attentionPrefix: (index) => attentionName(attentions[index].part, attentions[index].layer),
    parameterName: (stored) => t5ParameterName(stored, config.tiedHead),
    encode: (source, input) => encode(config, source, input),
    decode: (source, input) => decode(config, source, input),
    head: (source, hidden) => t5Head(config, source, hidden),
    drawParameters: (random) => drawT5Parameters(config, model, random),
  };
  return model;
}

/** Mixers in the order of `attentionsOf` as lists of the parts. */
function inParts({ encoderLayers: E, decoderLayers: D }: T5Config, mixers: readonly MixerConfig[]): PartMixers {
  if (mixers.length !== E + 2 * D) {
    throw configError('T5', [
      `${mixers.length} mixers for ${E + 2 * D} attentions: ${E} in the encoder, twice ${D} in the decoder`,
    ]);
  }
  return { encoder: mixers.slice(0, E), decoder: mixers.slice(E, E + D), cross: mixers.slice(E + D) };
}

function encode(config: T5Config, source: ParameterSource, { tokens, mask }: EncoderInput): Value {
  const bias = stackBias(config, source, 'encoder');
  let x = t5Embedding(config, source, tokens); // [B,n,width]
  for (let layer = 0; layer < stackLayers(config, 'encoder'); layer++) {
    const mounted = mountMixer(config, source, 'encoder', layer);
    const normed = t5Norm(config, source, `${selfAttentionLayer('encoder', layer)}.layer_norm`, x);
    const attention = scoped(source, attentionName('encoder', layer));
    const own = projectedPositions(config, attention, normed);
    x = add(x, joinedHeads(config, attention, encoderAttention(config, mounted, own, mask, bias)));
    x = add(x, t5FeedForwardBlock(config, source, 'encoder', layer, x));
  }
  return t5Norm(config, source, 'encoder.final_layer_norm', x);
}

function decode(
  config: T5Config,
  source: ParameterSource,
  { tokens, mask, encoded, encodedMask }: DecoderInput,
): Value {
  const bias = stackBias(config, source, 'decoder');
  let x = t5Embedding(config, source, tokens); // [B,m,width]
  for (let layer = 0; layer < stackLayers(config, 'decoder'); layer++) {
    const normed = t5Norm(config, source, `${selfAttentionLayer('decoder', layer)}.layer_norm`, x);
    const self = scoped(source, attentionName('decoder', layer));
    const own = projectedPositions(config, self, normed);
    x = add(
      x,
      joinedHeads(config, self, decoderAttention(mountMixer(config, source, 'decoder', layer), own, mask, bias)),
    );

    const asked = t5Norm(config, source, `${crossAttentionLayer(layer)}.layer_norm`, x);
    const cross = scoped(source, attentionName('cross', layer));
    const between = projectedPositions(config, cross, asked, encoded);
    x = add(
      x,
      joinedHeads(config, cross, crossAttention(mountMixer(config, source, 'cross', layer), between, encodedMask)),
    );
    x = add(x, t5FeedForwardBlock(config, source, 'decoder', layer, x));
  }
  return t5Norm(config, source, 'decoder.final_layer_norm', x);
}

/** Tokens int32 [...] → [..., width]. */
export function t5Embedding({ vocabulary, width }: T5Config, source: ParameterSource, tokens: Value): Value {
  return embedding(source, 'shared', tokens, vocabulary, width);
}

export function t5Norm({ width, normEpsilon }: T5Config, source: ParameterSource, name: string, x: Value): Value {
  return rmsNorm(x, source.parameter(`${name}.weight`, [width]), normEpsilon);
}

/** A projection in heads: [B,n,width] → [B,n,H,D]. `source` is that of the attention. */
export function projectedHeads(
  { width, heads, headWidth }: T5Config,
  source: ParameterSource,
  name: 'q' | 'k' | 'v',
  x: Value,
): Value {
  const [B, n] = x.shape;
  return reshape(linear(source, name, x, width, heads * headWidth), [B, n, heads, headWidth]);
}

/** All three projections: queries of `asking` [B,n,width], keys and values of `text` [B,m,width]. */
export function projectedPositions(
  config: T5Config,
  source: ParameterSource,
  asking: Value,
  text = asking,
): ProjectedPositions {
  return {
    q: projectedHeads(config, source, 'q', asking),
    k: projectedHeads(config, source, 'k', text),
    v: projectedHeads(config, source, 'v', text),
  };
}

/** The output projection: [B,n,H,D] → [B,n,width]. */
export function joinedHeads({ width, heads, headWidth }: T5Config, source: ParameterSource, mixed: Value): Value {
  const [B, n] = mixed.shape;
  const inner = heads * headWidth;
  return linear(source, 'o', reshape(mixed, [B, n, inner]), inner, width);
}

/** Norm and feed-forward of a block, without the residual. */
export function t5FeedForwardBlock(
  config: T5Config,
  source: ParameterSource,
  stack: Stack,
  block: number,
  x: Value,
): Value {
  const { width, feedForwardWidth: inner } = config;
  const { gated, activation } = t5FeedForward(config.feedForward);
  const layer = feedForwardLayer(stack, block);
  const normed = t5Norm(config, source, `${layer}.layer_norm`, x);
  const dense = scoped(source, `${layer}.DenseReluDense`);
  const activated = gated
    ? mul(activation(linear(dense, 'wi_0', normed, width, inner)), linear(dense, 'wi_1', normed, width, inner))
    : activation(linear(dense, 'wi', normed, width, inner));
  return linear(dense, 'wo', activated, inner, width);
}

/** Hidden states [..., width] → logits [..., V]. */
export function t5Head({ tiedHead, width, vocabulary }: T5Config, source: ParameterSource, hidden: Value): Value {
  if (!tiedHead) return linear(source, 'lm_head', hidden, width, vocabulary);
  return linear(source, 'shared', mul(hidden, width ** -0.5), width, vocabulary);
}
