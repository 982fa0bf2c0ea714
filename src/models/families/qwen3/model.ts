/** Qwen3 (arXiv 2505.09388): LLaMA's decoder with RMS norms over heads of queries and keys, and a head width of its own. */
import { z } from 'zod';
import { type DecoderVariant, decoderFields, onlyValue, parseDecoderConfig, size } from '../decoder/config.ts';
import { decoderModel } from '../decoder/model.ts';
import { unusedWindowFields, wholeAttentionFields } from '../decoder/whole-attention.ts';
import type { CausalModel } from '../../model.ts';

const variant: DecoderVariant = { family: 'qwen3', title: 'Qwen3', className: 'Qwen3', queryKeyNorm: true };

const qwen3Schema = z.object({
  ...decoderFields,
  ...wholeAttentionFields,
  model_type: z.literal('qwen3'),
  attention_bias: onlyValue(false, 'projections have no biases'),
  max_position_embeddings: size.default(32_768),
  num_key_value_heads: size,
  head_dim: size.default(128),
});

/** The model of a config.json. @throws LinnetError `CONFIG` naming every unusable or unknown field */
export function qwen3Model(json: Readonly<Record<string, unknown>>): CausalModel {
  return decoderModel(parseDecoderConfig(variant, qwen3Schema, json, unusedWindowFields), qwen3Model);
}
