/**
 * Gemma 3 (Google, arXiv 2503.19786), text models: norms with gains 1 + w, also on the outputs of attention and
 * feed-forward, GeGLU, and five window layers, with their own rotary base, per layer that reads the whole past.
 */
import { z } from 'zod';
import { parseMixer } from '../../../attention/mixers.ts';
import type { MixerConfig } from '../../../attention/mixer.ts';
import { geluTanh } from '../../../graph/ops/activations.ts';
import { onlyValue, originalMixer, size } from '../../config-fields.ts';
import { decoderFields, decoderSchema, type DecoderVariant, ofLayers, usualNames } from './config.ts';
import { decoderFamily } from './model.ts';
import { ropeOf } from './rope.ts';
import { onByDefault, positiveNumber, whole } from '../../../files/schema-values.ts';

const variant: DecoderVariant = {
  family: 'gemma3_text',
  title: 'Gemma 3',
  className: 'Gemma3Text',
  queryKeyNorm: true,
  zeroCentredNorms: true,
  activation: geluTanh,
  names: {
    ...usualNames,
    attentionOutputNorm: 'post_attention_layernorm',
    feedForwardOutputNorm: 'post_feedforward_layernorm',
    feedForwardNorm: 'pre_feedforward_layernorm',
  },
};

const ropeSchema = decoderFields.rope_parameters;

const gemma3Schema = decoderSchema('gemma3_text', {
  vocab_size: size.default(262_208),
  hidden_size: size.default(2304),
  intermediate_size: size.default(9216),
  num_hidden_layers: decoderFields.num_hidden_layers.default(26),
  num_attention_heads: size.default(8),
  num_key_value_heads: size.default(4),
  head_dim: size.default(256),
  hidden_act: onlyValue<string>('gelu_pytorch_tanh', 'the feed-forward is GeGLU'),
  hidden_activation: onlyValue('gelu_pytorch_tanh', 'the feed-forward is GeGLU'),
  max_position_embeddings: size.default(131_072),
  tie_word_embeddings: onByDefault,
  bos_token_id: z.int().nullish().default(2),
  eos_token_id: decoderFields.eos_token_id.default(1),
  attention_bias: onlyValue(false, 'projections have no biases'),
  attn_logit_softcapping: onlyValue(null, 'scores are not capped'),
  use_bidirectional_attention: onlyValue(false, 'every layer reads the past'),
  final_logit_softcapping: positiveNumber.nullish(),
  query_pre_attn_scalar: positiveNumber.default(256),
  rope_theta: positiveNumber.default(1e6),
  rope_local_base_freq: positiveNumber.default(1e4),
  rope_parameters: z.strictObject({ full_attention: ropeSchema, sliding_attention: ropeSchema }).nullish(),
  sliding_window: whole(1, 1_048_576).default(4096),
  layer_types: z.array(z.enum(['sliding_attention', 'full_attention'])).nullish(),
  sliding_window_pattern: whole(1).nullish(),
  // The interval that transformers writes next to the `layer_types` derived from it.
  _sliding_window_pattern: whole(1).nullish(),
});

export const gemma3TextModel = decoderFamily(variant, gemma3Schema, ['cache_implementation'], (fields) => {
  const { num_hidden_layers: layers, rope_theta, rope_scaling, rope_local_base_freq, rope_parameters: ropes } = fields;
  const window = parseMixer({ kind: 'window', group: 1, window: fields.sliding_window, sinks: 0 });
  const mixers = { sliding_attention: window, full_attention: originalMixer };
  const turns = {
    sliding_attention: ropeOf(variant.title, {
      rope_theta: rope_local_base_freq,
      rope_parameters: ropes?.sliding_attention,
    }),
    full_attention: ropeOf(variant.title, {
      rope_theta,
      rope_parameters: { ...ropes?.full_attention, ...rope_scaling },
    }),
  };
  const every = fields.sliding_window_pattern ?? fields._sliding_window_pattern ?? 6;
  const types = ofLayers(variant.title, 'layer_types', layers, fields.layer_types, (layer) =>
    (layer + 1) % every === 0 ? 'full_attention' : 'sliding_attention',
  );
  return {
    natives: types.map((type): MixerConfig => mixers[type]),
    ropes: types.map((type) => turns[type]),
    scoreScale: fields.query_pre_attn_scalar ** -0.5,
    embeddingScale: Math.sqrt(fields.hidden_size),
    logitCap: fields.final_logit_softcapping ?? undefined,
  };
});
