/**
 * Falcon-H1 (TII, arXiv 2507.22448): a decoder whose layers have attention and Mamba-2 side by side on the same input, and
 * factors on nearly everything. Its mixers are all layers' attentions, then all layers' Mamba-2.
 */
import { z } from 'zod';
import { configError, linnetSectionOf, onlyValue, everyLayer, originalMixer, size } from '../../config-fields.ts';
import { decoderSchema, type DecoderVariant, usualNames } from './config.ts';
import { harmlessOfMamba, mambaFields, mambaLayer, mambaMixer } from './mamba.ts';
import { decoderFamily } from './model.ts';
import { offByDefault, onByDefault, positiveNumber } from '../../../files/schema-values.ts';

const variant: DecoderVariant = {
  family: 'falcon_h1',
  title: 'Falcon-H1',
  className: 'FalconH1',
  names: {
    ...usualNames,
    feedForwardNorm: 'pre_ff_layernorm',
    finalNorm: 'model.final_layernorm',
    gate: 'feed_forward.gate_proj',
    up: 'feed_forward.up_proj',
    down: 'feed_forward.down_proj',
  },
};

const factor = z.number().default(1);
const defaultInnerWidth = 1024;

const schema = decoderSchema(variant.family, {
  ...mambaFields,
  max_position_embeddings: size.default(8192),
  num_key_value_heads: size.default(8),
  rms_norm_eps: positiveNumber.default(1e-5),
  attention_bias: offByDefault,
  mlp_bias: onlyValue(false, 'projections of the feed-forward have no biases'),
  projectors_bias: offByDefault,
  /** dI; null: from `mamba_expand`. Absent: from its heads. */
  mamba_d_ssm: size.nullish(),
  mamba_rms_norm: offByDefault,
  mamba_norm_before_gate: onByDefault,
  mamba_use_mlp: onlyValue(true, 'every layer has a feed-forward'),
  embedding_multiplier: factor,
  lm_head_multiplier: factor,
  key_multiplier: factor,
  attention_in_multiplier: factor,
  attention_out_multiplier: factor,
  ssm_in_multiplier: factor,
  ssm_out_multiplier: factor,
  mlp_multipliers: z.tuple([z.number(), z.number()]).nullish(),
  ssm_multipliers: z.tuple([z.number(), z.number(), z.number(), z.number(), z.number()]).nullish(),
  linnet: linnetSectionOf('granitemoehybrid'),
});

const harmless = [...harmlessOfMamba, 'mlp_expansion_factor', 'num_logits_to_keep', 'attn_layer_indices'];

export const falconH1Model = decoderFamily(variant, schema, harmless, (fields) => {
  const { num_hidden_layers: layers, attention_bias: hasBias, mamba_n_groups: groups } = fields;
  if (fields.mamba_rms_norm && fields.mamba_norm_before_gate) {
    throw configError(variant.title, ['mamba_norm_before_gate: only false is supported: the norm is after the gate']);
  }
  const { mamba_d_ssm: inner, mamba_d_head: headWidth } = fields;
  const ofHeads = headWidth === 'auto' ? defaultInnerWidth : fields.mamba_n_heads * headWidth;
  const expanded = inner === null ? fields.mamba_expand * fields.hidden_size : ofHeads;
  const mamba = mambaMixer(variant.title, fields, inner ?? expanded);
  return {
    variant: {
      queryKeyValueBias: hasBias,
      outputBias: hasBias,
      ownLayer: mambaLayer({
        inputBias: fields.mamba_proj_bias,
        outputBias: fields.projectors_bias,
        norms: fields.mamba_rms_norm ? groups : 0,
        scales: {
          input: fields.ssm_in_multiplier,
          parts: fields.ssm_multipliers ?? [],
          output: fields.ssm_out_multiplier,
        },
      }),
    },
    natives: [...everyLayer(layers, originalMixer), ...everyLayer(layers, mamba)],
    embeddingScale: fields.embedding_multiplier,
    logitScale: fields.lm_head_multiplier,
    attentionScales: [fields.attention_in_multiplier, fields.key_multiplier, fields.attention_out_multiplier],
    feedForwardScales: fields.mlp_multipliers ?? undefined,
  };
});
