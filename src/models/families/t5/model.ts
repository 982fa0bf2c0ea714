/**
 * T5 (Raffel et al., arXiv 1910.10683): an encoder and a decoder of pre-norm blocks, with RMS norm throughout, no biases,
 * unscaled attention, and one table of relative biases per stack, shared by its blocks.
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
import { ParameterList, type ParameterSource, scoped } from '../../../nn/parameters.ts';
import { noPositions } from '../../../nn/positions.ts';
import { type PartMixers, configError, withPartSection } from '../../config-fields.ts';
import { lastStates } from '../../classifiers/causal-classifier.ts';
import type { AutoregressiveModel, ClassifierParts, EncoderDecoderModel, LayerMixing } from '../../model.ts';
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

// Text classification with T5, as in `T5ForSequenceClassification`: the encoder reads the text, the decoder the same text
// shifted right; its state at the text's EOS token, which has read the whole text, goes through a layer with tanh.

const headName = 'classification_head';

function classifierOf(model: EncoderDecoderModel, classes: number): ClassifierParts {
  const { width } = model.sizes;
  const head = new ParameterList();
  head.linear('matrix', `${headName}.dense`, width, width);
  head.linear('matrix', `${headName}.out_proj`, width, classes);
  return {
    model,
    className: 'T5',
    head: head.all,
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

/** Tokens [B,n] as decoder input for predicting them: the start token first, the last token dropped. */
function shiftedRight(tokens: Value, startId: number): Value {
  const [B, n] = tokens.shape.map(Number);
  const start = tokens.graph.constant(int32([B, 1], new Int32Array(B).fill(startId)));
  return concat([start, slice(tokens, 1, 0, n - 1)], 1);
}

/** The model of a config.json. @throws LinnetError `CONFIG` like `parseT5Config` */
export function t5Model(json: JsonObject): EncoderDecoderModel {
  return describe(parseT5Config(json));
}

function describe(config: T5Config): EncoderDecoderModel {
  const attentions = attentionsOf(config);
  const decoder = describeDecoder(config);
  const encoder = { mixers: config.mixers.encoder, attentionPrefix: attentionNames.encoder };
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
    encode: (source, { tokens, mask }) =>
      readStack(config, source, 'encoder', tokens, {
        mix(layer, positions, scoring) {
          const parameters = mixerParameterValues({ ...decoder, ...encoder }, source, layer);
          return mixBidirectional(encoder.mixers[layer], positions, mask, parameters, scoring);
        },
      }),
    decode: (source, input) => parallelHidden(decoder, source, input.tokens, input),
    head: (source, hidden) => decoder.head(source, hidden),
  };
  return model;
}

/** Splits mixers in the order of `attentionsOf` into lists per part. */
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
  const { tiedHead, width, vocabulary } = config;
  // A tied head is the token embedding, whose rows are about √width too long.
  const headScale = tiedHead ? width ** -0.5 : 1;
  return {
    family: 't5',
    sizes: sizesOf({ ...config, layers: config.mixers.decoder.length }),
    mixers: config.mixers.decoder,
    bosId: config.startId,
    eosIds: config.eosIds,
    positions: noPositions,
    scoreScale: 1,
    headScale,
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
    backbone(source, tokens, _positions, mixing) {
      if (mixing.cross === undefined) throw internalError('a decoder is given no encoded text');
      return readStack(config, source, 'decoder', tokens, mixing);
    },
    head: (source, hidden) =>
      tiedHead
        ? linear(source, 'shared', mul(hidden, headScale), vocabulary)
        : linear(source, 'lm_head', hidden, vocabulary),
  };
}

/** T5's scores: no scale, and a stack's bias by distance. */
function stackScoring(config: T5Config, source: ParameterSource, stack: Stack): Scoring {
  const { buckets, heads, farthest } = config;
  const table = source.parameter(`${biasTableName(stack)}.weight`, [buckets, heads]);
  return { scale: 1, bias: { table, scheme: { buckets, farthest, causal: stack === 'decoder' } } };
}

/**
 * A stack's blocks: tokens int32 [B,n] → [B,n,width].
 * @param mixing its `cross` reads the encoded text, between self-attention and feed-forward
 */
function readStack(
  config: T5Config,
  source: ParameterSource,
  stack: Stack,
  tokens: Value,
  { mix, cross }: Pick<LayerMixing, 'mix' | 'cross'>,
): Value {
  const { width, heads, headWidth, vocabulary, feedForwardWidth: inner, normEpsilon } = config;
  const { gated, activation } = config.feedForward;
  const scoring = stackScoring(config, source, stack);
  const norm = (name: string, x: Value): Value => rmsNorm(x, source.parameter(`${name}.weight`, [width]), normEpsilon);
  const joinHeads = (attention: ParameterSource, mixed: Value): Value => {
    const [B, n] = mixed.shape;
    return linear(attention, 'o', reshape(mixed, [B, n, heads * headWidth]), width);
  };
  let x = embedding(source, 'shared', tokens, vocabulary, width);
  for (let block = 0; block < config.mixers[stack].length; block++) {
    source.graph.cutAt(x);
    const read = norm(`${selfAttentionLayer(stack, block)}.layer_norm`, x);
    const own = scoped(source, attentionNames[stack](block));
    const [q, k, v] = (['q', 'k', 'v'] as const).map((name) => projectHeads(config, own, name, read));
    x = add(x, joinHeads(own, mix(block, { q, k, v }, scoring)));
    if (cross !== undefined) {
      const asked = norm(`${crossAttentionLayer(block)}.layer_norm`, x);
      const between = scoped(source, attentionNames.cross(block));
      x = add(x, joinHeads(between, cross(block, projectHeads(config, between, 'q', asked))));
    }
    const layer = feedForwardLayer(stack, block);
    const normed = norm(`${layer}.layer_norm`, x);
    const dense = scoped(source, `${layer}.DenseReluDense`);
    const activated = gated
      ? mul(activation(linear(dense, 'wi_0', normed, inner)), linear(dense, 'wi_1', normed, inner))
      : activation(linear(dense, 'wi', normed, inner));
    x = add(x, linear(dense, 'wo', activated, width));
  }
  source.graph.cutAt(x);
  return norm(`${stack}.final_layer_norm`, x);
}

/** Projects into heads: [B,n,width] → [B,n,H,D]. `source` has the attention's parameters. */
function projectHeads({ heads, headWidth }: T5Config, source: ParameterSource, name: 'q' | 'k' | 'v', x: Value): Value {
  return inHeads(linear(source, name, x, heads * headWidth), heads);
}
