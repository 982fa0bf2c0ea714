/**
 * T5 (Raffel et al., arXiv 1910.10683): an encoder and a decoder of pre-norm blocks, with RMS norm throughout, no biases,
 * attention without scaling, and one table of relative biases per stack that all of its blocks share.
 */
import type { MixerConfig } from '../../../attention/mixer.ts';
import { mixBidirectional } from '../../../attention/mixers.ts';
import type { Scoring } from '../../../attention/scoring.ts';
import { internalError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { add, mul, tanh } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, slice } from '../../../graph/ops/layout.ts';
import { rmsNorm } from '../../../graph/ops/normalization.ts';
import { biasedLinear, embedding, inHeads, linear } from '../../../nn/linear.ts';
import { type ParameterSource, scoped } from '../../../nn/parameters.ts';
import { noPositions } from '../../../nn/positions.ts';
import { type PartMixers, configError, withPartSection } from '../../config-fields.ts';
import { lastStates } from '../../classifiers/causal-classifier.ts';
import type {
  AutoregressiveModel,
  ClassifierParts,
  EncoderDecoderModel,
  EncoderInput,
  LayerMixing,
} from '../../model.ts';
import { mixerParameterValues, parallelHidden } from '../../graphs/parallel-graph.ts';
import { sizesOf } from '../family.ts';
import { type T5Config, parseT5Config, plainMixers } from './config.ts';
import {
  type Stack,
  attentionNames,
  attentionsOf,
  biasTableName,
  crossAttentionLayer,
  feedForwardLayer,
  selfAttentionLayer,
  t5ParameterName,
  t5Parameters,
} from './parameters.ts';
import type { JsonObject } from '../../../files/json-object.ts';
import { int32 } from '../../../graph/tensor.ts';

// Text classification with T5, as `T5ForSequenceClassification`: the encoder reads the text, the decoder the same text
// shifted right, and its state at the text's EOS token, which has read all before it, goes through a layer with tanh.

const headName = 'classification_head';

function classifierOf(model: EncoderDecoderModel, classes: number): ClassifierParts {
  const { width } = model.sizes;
  return {
    model,
    className: 'T5',
    head: new Map([
      [`${headName}.dense.weight`, { shape: [width, width], role: 'matrix' }],
      [`${headName}.dense.bias`, { shape: [width], role: 'bias' }],
      [`${headName}.out_proj.weight`, { shape: [classes, width], role: 'matrix' }],
      [`${headName}.out_proj.bias`, { shape: [classes], role: 'bias' }],
    ]),
    storedPrefix: 'transformer.',
    logits(source, { tokens, mask, last }) {
      const encoded = model.encode(source, { tokens, mask });
      const shifted = shiftedRight(tokens, model.startId);
      const hidden = model.decode(source, { tokens: shifted, encoded, encodedMask: mask }); // [B,n,width]
      const inner = tanh(biasedLinear(source, `${headName}.dense`, lastStates(hidden, last), width));
      return biasedLinear(source, `${headName}.out_proj`, inner, classes);
    },
  };
}

/** Tokens [B,n] as the decoder reads them to predict them: the start token first, the last one left out. */
function shiftedRight(tokens: Value, startId: number): Value {
  const [B, n] = tokens.shape.map(Number);
  const start = tokens.graph.constant(int32([B, 1], new Int32Array(B).fill(startId)));
  return concat([start, slice(tokens, 1, 0, n - 1)], 1);
}

/** The model of a config.json. @throws LinnetError `CONFIG` as `parseT5Config` does */
export function t5Model(json: JsonObject): EncoderDecoderModel {
  return describe(parseT5Config(json));
}

function describe(config: T5Config): EncoderDecoderModel {
  const attentions = attentionsOf(config);
  const decoder = describeDecoder(config);
  const model: EncoderDecoderModel = {
    family: 't5',
    kind: 'encoder-decoder',
    sizes: { ...decoder.sizes, layers: config.mixers.encoder.length + config.mixers.decoder.length },
    attentions,
    mixers: attentions.map(({ mixer }) => mixer),
    parameters: t5Parameters(config),
    startId: config.startId,
    padId: config.padId,
    eosIds: config.eosIds,
    unknownFields: config.unknownFields,
    toJson: () => withPartSection(config.raw, plainMixers(config.mixers), config.padding),
    withMixers(mixers) {
      const parts = plainMixers(inParts(config, mixers));
      return t5Model(withPartSection(config.raw, parts, config.padding));
    },
    attentionPrefix: (index) => attentionNames[attentions[index].part](attentions[index].layer),
    parameterName: (stored) => t5ParameterName(stored, config.tiedHead),
    decoder,
    asClassifier: ({ length: classes }) => classifierOf(model, classes),
    encode: (source, input) => encode(config, source, input),
    decode: (source, input) => parallelHidden(decoder, source, input.tokens, input),
    head: (source, hidden) => head(config, source, hidden),
  };
  return model;
}

/** Mixers in the order of `attentionsOf` as lists of the parts. */
function inParts(config: T5Config, mixers: readonly MixerConfig[]): PartMixers {
  const [E, D] = [config.mixers.encoder.length, config.mixers.decoder.length];
  if (mixers.length !== E + 2 * D) {
    throw configError('T5', [
      `${mixers.length} mixers for ${E + 2 * D} attentions: ${E} in the encoder, twice ${D} in the decoder`,
    ]);
  }
  return { encoder: mixers.slice(0, E), decoder: mixers.slice(E, E + D), cross: mixers.slice(E + D) };
}

function describeDecoder(config: T5Config): AutoregressiveModel {
  return {
    family: 't5',
    sizes: sizesOf({ ...config, layers: config.mixers.decoder.length }),
    mixers: config.mixers.decoder,
    bosId: config.startId,
    eosIds: config.eosIds,
    positions: noPositions,
    scoreScale: 1,
    headScale: headScale(config),
    biasReach: config.farthest,
    attentionPrefix: attentionNames.decoder,
    cross: {
      mixers: config.mixers.cross,
      attentionPrefix: attentionNames.cross,
      project(source, layer, encoded) {
        const attentionSource = scoped(source, attentionNames.cross(layer));
        return {
          k: projectHeads(config, attentionSource, 'k', encoded),
          v: projectHeads(config, attentionSource, 'v', encoded),
        };
      },
    },
    backbone: (source, tokens, _positions, mixing) => decode(config, source, tokens, mixing),
    head: (source, hidden) => head(config, source, hidden),
  };
}

/** T5's scores: no scale, and the bias by distance of a stack. */
function stackScoring(config: T5Config, source: ParameterSource, stack: Stack): Scoring {
  const { buckets, heads, farthest } = config;
  const table = source.parameter(`${biasTableName(stack)}.weight`, [buckets, heads]);
  return { scale: 1, bias: { table, scheme: { buckets, farthest, causal: stack === 'decoder' } } };
}

function encode(config: T5Config, source: ParameterSource, { tokens, mask }: EncoderInput): Value {
  const scoring = stackScoring(config, source, 'encoder');
  const attentions = {
    mixers: config.mixers.encoder,
    sizes: describeDecoder(config).sizes,
    attentionPrefix: attentionNames.encoder,
  };
  let x = embed(config, source, tokens); // [B,n,width]
  for (let layer = 0; layer < config.mixers.encoder.length; layer++) {
    source.graph.cutAt(x);
    x = add(
      x,
      selfAttention(config, source, 'encoder', layer, x, (positions) => {
        const parameters = mixerParameterValues(attentions, source, layer);
        return mixBidirectional(config.mixers.encoder[layer], positions, mask, parameters, scoring);
      }),
    );
    x = add(x, feedForward(config, source, 'encoder', layer, x));
  }
  source.graph.cutAt(x);
  return norm(config, source, 'encoder.final_layer_norm', x);
}

/** The decoder, whose positions are mixed by `mixing`: tokens int32 [B,T] → [B,T,width]. */
function decode(config: T5Config, source: ParameterSource, tokens: Value, { mix, cross }: LayerMixing): Value {
  if (cross === undefined) throw internalError('a decoder is given no encoded text');
  const scoring = stackScoring(config, source, 'decoder');
  let x = embed(config, source, tokens);
  for (let layer = 0; layer < config.mixers.decoder.length; layer++) {
    source.graph.cutAt(x);
    x = add(
      x,
      selfAttention(config, source, 'decoder', layer, x, (positions) => mix(layer, positions, scoring)),
    );
    const asked = norm(config, source, `${crossAttentionLayer(layer)}.layer_norm`, x);
    const between = scoped(source, attentionNames.cross(layer));
    x = add(x, joinHeads(config, between, cross(layer, projectHeads(config, between, 'q', asked))));
    x = add(x, feedForward(config, source, 'decoder', layer, x));
  }
  source.graph.cutAt(x);
  return norm(config, source, 'decoder.final_layer_norm', x);
}

/** Tokens int32 [...] → [..., width]. */
function embed({ vocabulary, width }: T5Config, source: ParameterSource, tokens: Value): Value {
  return embedding(source, 'shared', tokens, vocabulary, width);
}

function norm({ width, normEpsilon }: T5Config, source: ParameterSource, name: string, x: Value): Value {
  return rmsNorm(x, source.parameter(`${name}.weight`, [width]), normEpsilon);
}

/** Norm and self-attention of a block, without the residual. */
function selfAttention(
  config: T5Config,
  source: ParameterSource,
  stack: Stack,
  layer: number,
  x: Value,
  mix: (positions: { q: Value; k: Value; v: Value }) => Value,
): Value {
  const normed = norm(config, source, `${selfAttentionLayer(stack, layer)}.layer_norm`, x);
  const attentionSource = scoped(source, attentionNames[stack](layer));
  const project = (name: 'q' | 'k' | 'v'): Value => projectHeads(config, attentionSource, name, normed);
  return joinHeads(config, attentionSource, mix({ q: project('q'), k: project('k'), v: project('v') }));
}

/** A projection in heads: [B,n,width] → [B,n,H,D]. `source` holds the parameters of the attention. */
function projectHeads({ heads, headWidth }: T5Config, source: ParameterSource, name: 'q' | 'k' | 'v', x: Value): Value {
  return inHeads(linear(source, name, x, heads * headWidth), heads);
}

/** The output projection: [B,n,H,D] → [B,n,width]. */
function joinHeads({ width, heads, headWidth }: T5Config, source: ParameterSource, mixed: Value): Value {
  const [B, n] = mixed.shape;
  const inner = heads * headWidth;
  return linear(source, 'o', reshape(mixed, [B, n, inner]), width);
}

/** Norm and feed-forward of a block, without the residual. */
function feedForward(config: T5Config, source: ParameterSource, stack: Stack, block: number, x: Value): Value {
  const { width, feedForwardWidth: inner } = config;
  const { gated, activation } = config.feedForward;
  const layer = feedForwardLayer(stack, block);
  const normed = norm(config, source, `${layer}.layer_norm`, x);
  const dense = scoped(source, `${layer}.DenseReluDense`);
  const activated = gated
    ? mul(activation(linear(dense, 'wi_0', normed, inner)), linear(dense, 'wi_1', normed, inner))
    : activation(linear(dense, 'wi', normed, inner));
  return linear(dense, 'wo', activated, width);
}

/** Hidden states [..., width] → logits [..., V]. */
function head(config: T5Config, source: ParameterSource, hidden: Value): Value {
  const { tiedHead, vocabulary } = config;
  if (!tiedHead) return linear(source, 'lm_head', hidden, vocabulary);
  return linear(source, 'shared', mul(hidden, headScale(config)), vocabulary);
}

/** Factor of hidden states before the head: a tied head is the token embedding, with rows about √width too long. */
function headScale({ tiedHead, width }: T5Config): number {
  return tiedHead ? width ** -0.5 : 1;
}
