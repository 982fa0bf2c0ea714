/** Qwen2 and Qwen2.5 (arXiv 2407.10671, 2412.15115): LLaMA's decoder with biases of queries, keys and values. */
import { z } from 'zod';
import { type DecoderVariant, decoderFields, parseDecoderConfig, size } from '../decoder/config.ts';
import { decoderModel } from '../decoder/model.ts';
import { unusedWindowFields, wholeAttentionFields } from '../decoder/whole-attention.ts';
import type { CausalModel } from '../../model.ts';

const variant: DecoderVariant = { family: 'qwen2', title: 'Qwen2', className: 'Qwen2', queryKeyValueBias: true };

const qwen2Schema = z.object({
  ...decoderFields,
  ...wholeAttentionFields,
  model_type: z.literal('qwen2'),
  max_position_embeddings: size.default(32_768),
  num_key_value_heads: size,
});

/** The model of a config.json. @throws LinnetError `CONFIG` naming every unusable or unknown field */
export function qwen2Model(json: Readonly<Record<string, unknown>>): CausalModel {
  return decoderModel(parseDecoderConfig(variant, qwen2Schema, json, unusedWindowFields), qwen2Model);
}
