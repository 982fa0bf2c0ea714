/**
 * OLMo-Hybrid (Ai2): a decoder in which most layers are Gated DeltaNet with β up to 2 and input norms. Layers with
 * attention have output norms instead, and one norm each for all heads' queries and keys. Queries and keys are rotated only
 * if there is a base.
 */
import { z } from 'zod';
import { everyLayer, linnetSectionOf, onlyValue, size } from '../../config-fields.ts';
import { biasFields, decoderSchema, type DecoderVariant, usualNames, variantBiases } from './config.ts';
import { apart, deltaNetFields, deltaNetLayer, deltaNetMixers } from './delta-net.ts';
import { decoderFamily } from './model.ts';
import { ropeOf, scalingSchema } from './rope.ts';
import { onByDefault, positiveNumber } from '../../../files/schema-values.ts';

const variant: DecoderVariant = {
  family: 'olmo_hybrid',
  title: 'OLMo-Hybrid',
  className: 'OlmoHybrid',
  joinedQueryKeyNorm: true,
  ownLayer: deltaNetLayer({ ...apart, names: usualNames }),
  names: {
    ...usualNames,
    attentionNorm: null,
    attentionOutputNorm: 'post_attention_layernorm',
    feedForwardNorm: null,
    feedForwardOutputNorm: 'post_feedforward_layernorm',
  },
};

/**
 * Null for no rotation. Without a base, descriptions (no rotation) and the authors' code (base 10,000) disagree: that is
 * refused.
 */
const ropeSchema = z.union(
  [
    z.strictObject({ rope_theta: z.null(), rope_type: z.literal('default').optional() }).transform(() => null),
    scalingSchema.extend({ rope_theta: positiveNumber }),
  ],
  'must be an object with rope_theta: a number, or null if queries and keys are not rotated',
);

const schema = decoderSchema(variant.family, {
  ...deltaNetFields,
  max_position_embeddings: size.default(65_536),
  attention_bias: biasFields.attention_bias,
  rope_parameters: ropeSchema,
  rope_scaling: onlyValue(null, 'it is in rope_parameters'),
  linear_key_head_dim: deltaNetFields.linear_key_head_dim.nullish(),
  linear_value_head_dim: deltaNetFields.linear_value_head_dim.nullish(),
  linear_num_key_heads: deltaNetFields.linear_num_key_heads.nullish(),
  linear_num_value_heads: deltaNetFields.linear_num_value_heads.nullish(),
  linear_allow_neg_eigval: onByDefault,
  linnet: linnetSectionOf('qwen3_5'),
});

/** Fields on initial values. */
const harmless = ['linear_a_log_min', 'linear_a_log_max', 'linear_dt_min', 'linear_dt_max', 'linear_dt_init_floor'];

export const olmoHybridModel = decoderFamily(variant, schema, harmless, (fields) => {
  const { num_attention_heads: heads, num_hidden_layers: layers } = fields;
  const keyHeads = fields.linear_num_key_heads ?? heads;
  const keyWidth = fields.linear_key_head_dim ?? Math.floor((0.75 * fields.hidden_size) / keyHeads);
  const sizes = {
    linear_num_key_heads: keyHeads,
    linear_num_value_heads: fields.linear_num_value_heads ?? heads,
    linear_key_head_dim: keyWidth,
    linear_value_head_dim: fields.linear_value_head_dim ?? 2 * keyWidth,
  };
  const options = { ...(fields.linear_allow_neg_eigval && ({ doubled: true } as const)), apart: true } as const;
  const isAttention = (layer: number): boolean => layer % 4 === 3 || (layers < 4 && layer === layers - 1);
  return {
    variant: variantBiases(fields),
    natives: deltaNetMixers(variant.title, { ...fields, ...sizes }, options, isAttention),
    ropes: everyLayer(fields.num_hidden_layers, fields.rope_parameters && ropeOf(variant.title, fields)),
  };
});
