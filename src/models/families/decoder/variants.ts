/**
 * The decoder's variants: LLaMA (arXiv 2302.13971, 2307.09288, 2407.21783), others with its architecture (TinyLlama,
 * SmolLM2), and its relatives. Qwen2 and Qwen2.5 (arXiv 2407.10671, 2412.15115) have biases on queries, keys and values;
 * Qwen3 (arXiv 2505.09388) has RMS norms over query and key heads, and its own head width; SmolLM3 rotates queries and keys
 * in three of four layers. Position i of Mistral (Jiang et al., arXiv 2310.06825) reads positions j with 0 ≤ i − j < w,
 * where w is `sliding_window`; in Linnet a mixer, which can be exchanged like any other.
 */
import { z } from 'zod';
import { mixerPreset } from '../../../attention/presets.ts';
import { onlyValue, everyLayer, size } from '../../config-fields.ts';
import {
  variantBiases,
  biasFields,
  type DecoderChanges,
  type DecoderConfig,
  decoderSchema,
  type DecoderVariant,
  ofLayers,
  parseDecoderConfig,
} from './config.ts';
import { decoderFamily } from './model.ts';
import { ropeOf } from './rope.ts';
import type { JsonObject } from '../../../files/json-object.ts';
import { onByDefault, positiveNumber, whole } from '../../../files/schema-values.ts';

/**
 * Windows in some layers are refused: descriptions and code have disagreed about which layers, and no published checkpoint
 * uses them.
 */
const wholeAttentionFields = {
  use_sliding_window: onlyValue(false, 'every layer reads the whole past'),
  layer_types: z
    .array(z.literal('full_attention', 'only "full_attention" is supported: every layer reads the whole past'))
    .nullish(),
  use_mrope: onlyValue(false, 'positions are numbers, not places in pictures'),
};

/** Fields that count only if `use_sliding_window` is true. */
const unusedWindowFields = ['sliding_window', 'max_window_layers'];

const llamaVariant: DecoderVariant = { family: 'llama', title: 'LLaMA', className: 'Llama' };

const llamaSchema = decoderSchema('llama', {
  ...biasFields,
  rope_interleaved: onlyValue(false, 'the halves of a head are turned together'),
});

function llamaBiases(fields: z.infer<typeof llamaSchema>): DecoderChanges {
  return { variant: variantBiases(fields) };
}

/** Fields that conversions of the first LLaMA, SmolLM2 and fine-tuning tools add. */
const harmless = ['max_sequence_length', 'is_llama_config', 'unsloth_version', 'unsloth_fixed'];

/** Checks a parsed config.json. @throws LinnetError `CONFIG` naming every unusable or unknown field and the supported values */
export function parseLlamaConfig(json: JsonObject): DecoderConfig {
  return parseDecoderConfig(llamaVariant, llamaSchema, json, harmless, llamaBiases);
}

export const llamaModel = decoderFamily(llamaVariant, llamaSchema, harmless, llamaBiases);

const mistralSchema = decoderSchema('mistral', {
  max_position_embeddings: size.default(131_072),
  // Elsewhere its absence means the number of query heads, in Mistral's own code 8.
  num_key_value_heads: size,
  /** w; null reads the whole past. transformers' default. */
  sliding_window: whole(1, 1_048_576).nullable().default(4096),
});

export const mistralModel = decoderFamily(
  { family: 'mistral', title: 'Mistral', className: 'Mistral' },
  mistralSchema,
  [],
  ({ sliding_window: window, num_hidden_layers }) =>
    window === null ? {} : { natives: everyLayer(num_hidden_layers, mixerPreset('sliding-window', { window })) },
);

const qwen2Schema = decoderSchema('qwen2', {
  ...wholeAttentionFields,
  max_position_embeddings: size.default(32_768),
  num_key_value_heads: size,
});

export const qwen2Model = decoderFamily(
  { family: 'qwen2', title: 'Qwen2', className: 'Qwen2', queryKeyValueBias: true },
  qwen2Schema,
  unusedWindowFields,
);

const qwen3Schema = decoderSchema('qwen3', {
  ...wholeAttentionFields,
  attention_bias: onlyValue(false, 'projections have no biases'),
  max_position_embeddings: size.default(32_768),
  num_key_value_heads: size,
  head_dim: size.default(128),
});

export const qwen3Model = decoderFamily(
  { family: 'qwen3', title: 'Qwen3', className: 'Qwen3', queryKeyNorm: true },
  qwen3Schema,
  unusedWindowFields,
);

const smolLm3Variant: DecoderVariant = { family: 'smollm3', title: 'SmolLM3', className: 'SmolLM3' };

const smolLm3Schema = decoderSchema('smollm3', {
  ...wholeAttentionFields,
  attention_bias: onlyValue(false, 'projections have no biases'),
  mlp_bias: onlyValue(false, 'projections have no biases'),
  max_position_embeddings: size.default(32_768),
  num_key_value_heads: size.default(4),
  rope_theta: positiveNumber.default(2_000_000),
  tie_word_embeddings: onByDefault,
  /** 1 for layers that rotate queries and keys, 0 for the others; else every `no_rope_layer_interval`-th layer does not. */
  no_rope_layers: z.array(z.literal([0, 1])).nullish(),
  no_rope_layer_interval: whole(1).default(4),
});

export const smolLm3Model = decoderFamily(smolLm3Variant, smolLm3Schema, unusedWindowFields, (fields) => {
  const { num_hidden_layers: layers, no_rope_layers: turns, no_rope_layer_interval: interval } = fields;
  const { title } = smolLm3Variant;
  const rope = ropeOf(title, fields);
  const turned = ofLayers(title, 'no_rope_layers', layers, turns, (layer) => ((layer + 1) % interval === 0 ? 0 : 1));
  return { ropes: turned.map((isTurned) => (isTurned === 1 ? rope : null)) };
});
