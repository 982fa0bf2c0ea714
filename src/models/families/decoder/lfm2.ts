/**
 * LFM2 and LFM2.5 (Liquid AI, arXiv 2511.23404), text models: LLaMA's decoder with query and key norms, under its own
 * names, in which most layers have a short convolution instead of attention.
 */
import { z } from 'zod';
import { shortConvSchema } from '../../../attention/kinds/short-conv/config.ts';
import type { MixerConfig } from '../../../attention/mixer.ts';
import { parseMixer } from '../../../attention/mixers.ts';
import { reshape, split } from '../../../graph/ops/layout.ts';
import { biasedLinear, inHeads, linear } from '../../../nn/linear.ts';
import { configError, linnetSectionOf, onlyValue, originalMixer, size } from '../../config-fields.ts';
import { decoderSchema, type DecoderVariant, ofLayers, type OwnLayer } from './config.ts';
import { decoderFamily } from './model.ts';
import { onByDefault, positiveNumber } from '../../../files/schema-values.ts';

/** A short convolution: a filter over B ⊙ x, multiplied by C. */
const convolution: OwnLayer = {
  prefix: 'conv',
  declare(list, prefix, { width }, mixer) {
    list.add('matrix', `${prefix}.in_proj.weight`, [3 * width, width]);
    list.add('residual output', `${prefix}.out_proj.weight`, [width, width]);
    if (!shortConvSchema.parse(mixer).bias) return;
    list.add('bias', `${prefix}.in_proj.bias`, [3 * width]);
    list.add('bias', `${prefix}.out_proj.bias`, [width]);
  },
  mixed({ width, keyValueHeads }, source, x, mixer, mix, { enter, leave }) {
    const layer = shortConvSchema.parse(mixer).bias ? biasedLinear : linear;
    const [k, q, v] = split(enter(layer(source, 'in_proj', x, 3 * width)), 2, [width, width, width]).map((rows) =>
      inHeads(rows, keyValueHeads),
    );
    const [B, T] = q.shape;
    return layer(source, 'out_proj', leave(reshape(mix({ q, k, v }), [B, T, width])), width);
  },
};

const variant: DecoderVariant = {
  family: 'lfm2',
  title: 'LFM2',
  className: 'Lfm2',
  queryKeyNorm: true,
  ownLayer: convolution,
  names: {
    root: 'model',
    attentionNorm: 'operator_norm',
    feedForwardNorm: 'ffn_norm',
    finalNorm: 'model.embedding_norm',
    queryNorm: 'q_layernorm',
    keyNorm: 'k_layernorm',
    output: 'out_proj',
    gate: 'feed_forward.w1',
    up: 'feed_forward.w3',
    down: 'feed_forward.w2',
  },
};

const lfm2Schema = decoderSchema('lfm2', {
  max_position_embeddings: size.default(128_000),
  num_key_value_heads: size.default(8),
  intermediate_size: size.default(12_288),
  block_ff_dim: size.nullish(),
  block_auto_adjust_ff_dim: onByDefault,
  block_ffn_dim_multiplier: positiveNumber.nullable().default(1),
  block_multiple_of: size.default(256),
  block_use_swiglu: onlyValue(true, 'the feed-forward is gated'),
  norm_eps: positiveNumber.default(1e-5),
  rope_theta: positiveNumber.default(1e6),
  conv_bias: shortConvSchema.shape.bias,
  conv_L_cache: shortConvSchema.shape.kernel,
  layer_types: z.array(z.enum(['conv', 'full_attention'])).nullish(),
  full_attn_idxs: z.array(z.int()).nullish(),
  tie_word_embeddings: onByDefault,
  tie_embedding: z.boolean().nullish(),
  linnet: linnetSectionOf('lfm2'),
});

type Lfm2Fields = z.infer<typeof lfm2Schema>;

/** Fields of published configurations that the authors' code does not read, or reads only for initial values. */
const harmless = [
  'block_dim',
  'block_mlp_init_scale',
  'block_norm_eps',
  'block_out_init_scale',
  'block_use_xavier_init',
  'conv_dim',
  'conv_dim_out',
  'conv_use_xavier_init',
  'num_heads',
  'use_pos_enc',
  'theta',
];

/** Width inside the feed-forward. @throws LinnetError `CONFIG` if it is not a size */
function feedForwardWidth(fields: Lfm2Fields): number {
  const total = fields.block_ff_dim ?? fields.intermediate_size;
  if (!fields.block_auto_adjust_ff_dim) return total;
  const adjusted = Math.floor((2 * total) / 3);
  const { block_ffn_dim_multiplier: factor, block_multiple_of: multiple } = fields;
  const width = factor === null ? adjusted : multiple * Math.ceil(Math.floor(factor * adjusted) / multiple);
  if (size.safeParse(width).success) return width;
  throw configError(variant.title, [
    `block_ffn_dim_multiplier ${factor} of two thirds of ${total} gives a feed-forward of width ${width}`,
  ]);
}

/** @throws LinnetError `CONFIG` if types and layers differ in number, or channels do not divide among key-value heads */
function nativeMixers(fields: Lfm2Fields): readonly MixerConfig[] {
  const { layer_types: types, full_attn_idxs: attentions, num_hidden_layers: layers, hidden_size: width } = fields;
  const short = parseMixer({ kind: 'short-conv', kernel: fields.conv_L_cache, bias: fields.conv_bias });
  const named = ofLayers(variant.title, 'layer_types', layers, types, (layer) =>
    (attentions?.includes(layer) ?? true) ? 'full_attention' : 'conv',
  );
  const natives = named.map((type) => (type === 'full_attention' ? originalMixer : short));
  const channels = width / fields.num_key_value_heads;
  if (!(Number.isInteger(channels) && channels > 1) && natives.includes(short)) {
    throw configError(variant.title, [
      `hidden_size ${width} must be a multiple of num_key_value_heads ${fields.num_key_value_heads}, and larger`,
    ]);
  }
  return natives;
}

const readLfm2 = decoderFamily(variant, lfm2Schema, harmless, (fields) => ({
  natives: nativeMixers(fields),
  feedForwardWidth: feedForwardWidth(fields),
  normEpsilon: fields.norm_eps,
  tiedHead: fields.tie_embedding ?? fields.tie_word_embeddings,
}));

/** Some configurations give the number of query heads only as `num_heads`. */
export const lfm2Model: typeof readLfm2 = (json) => {
  const { num_attention_heads: heads = json.num_heads } = json;
  return readLfm2(heads === json.num_attention_heads ? json : { ...json, num_attention_heads: heads });
};
