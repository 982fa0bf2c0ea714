/** Named model sizes, published and small, as config.json for `describeModel`; for pre-training and synthetic models. */
import { defaultKernel } from '../../attention/convolution-config.ts';
import { LinnetError } from '../../errors.ts';
import type { JsonObject } from '../../files/json-object.ts';

/** Configurations by name. */
type Shapes = Readonly<Record<string, JsonObject>>;

/** A family's sizes. @param common fields that they share */
function sizesOf(common: JsonObject, sizes: Shapes): Shapes {
  return Object.fromEntries(Object.entries(sizes).map(([name, own]) => [name, { ...common, ...own }]));
}

/** @throws LinnetError `CONFIG` for an unknown name, listing the known ones */
function shapeNamed(shapes: Shapes, name: string): Record<string, unknown> {
  if (Object.hasOwn(shapes, name)) return { ...shapes[name] };
  throw new LinnetError('CONFIG', `unknown model "${name}"; known are ${Object.keys(shapes).join(', ')}`);
}

/** 110M and 335M parameters, with the uncased vocabulary. */
const berts = sizesOf(
  {
    model_type: 'bert',
    architectures: ['BertForMaskedLM'],
    vocab_size: 30522,
    hidden_act: 'gelu',
    max_position_embeddings: 512,
    type_vocab_size: 2,
    layer_norm_eps: 1e-12,
    pad_token_id: 0,
  },
  {
    'bert-base': { num_hidden_layers: 12, hidden_size: 768, num_attention_heads: 12, intermediate_size: 3072 },
    'bert-large': { num_hidden_layers: 24, hidden_size: 1024, num_attention_heads: 16, intermediate_size: 4096 },
  },
);

/** 124M, 355M, 774M and 1.6B parameters. */
const gpt2s = sizesOf(
  {
    model_type: 'gpt2',
    vocab_size: 50257,
    n_positions: 1024,
    layer_norm_epsilon: 1e-5,
    activation_function: 'gelu_new',
    bos_token_id: 50256,
    eos_token_id: 50256,
  },
  {
    gpt2: { n_layer: 12, n_embd: 768, n_head: 12 },
    'gpt2-medium': { n_layer: 24, n_embd: 1024, n_head: 16 },
    'gpt2-large': { n_layer: 36, n_embd: 1280, n_head: 20 },
    'gpt2-xl': { n_layer: 48, n_embd: 1600, n_head: 25 },
  },
);

/** Version 1.0: relu, tied head. */
const original = { feed_forward_proj: 'relu', tie_word_embeddings: true };
/** Version 1.1: gated gelu, an untied head. */
const improved = { feed_forward_proj: 'gated-gelu', tie_word_embeddings: false };

const t5s = sizesOf(
  {
    model_type: 't5',
    vocab_size: 32128,
    d_kv: 64,
    n_positions: 512,
    relative_attention_num_buckets: 32,
    relative_attention_max_distance: 128,
    layer_norm_epsilon: 1e-6,
    is_encoder_decoder: true,
    pad_token_id: 0,
    eos_token_id: 1,
    decoder_start_token_id: 0,
  },
  {
    't5-small': { d_model: 512, d_ff: 2048, num_layers: 6, num_heads: 8, ...original },
    't5-base': { d_model: 768, d_ff: 3072, num_layers: 12, num_heads: 12, ...original },
    't5-large': { d_model: 1024, d_ff: 4096, num_layers: 24, num_heads: 16, ...original },
    't5-v1_1-small': { d_model: 512, d_ff: 1024, num_layers: 8, num_heads: 6, ...improved },
    't5-v1_1-base': { d_model: 768, d_ff: 2048, num_layers: 12, num_heads: 12, ...improved },
    't5-v1_1-large': { d_model: 1024, d_ff: 2816, num_layers: 24, num_heads: 16, ...improved },
  },
);

/** A LLaMA model's sizes, in the order of `llamas` rows. */
const llamaColumns = [
  'vocab_size',
  'hidden_size',
  'intermediate_size',
  'num_hidden_layers',
  'num_attention_heads',
  'num_key_value_heads',
  'max_position_embeddings',
] as const;

function llama(sizes: readonly number[], others: JsonObject = {}): Record<string, unknown> {
  return { ...Object.fromEntries(llamaColumns.map((column, i) => [column, sizes[i]])), ...others };
}

/** 0.5, 1.1, 1.2, 6.7 and 13 billion parameters. */
const llamas = sizesOf(
  { model_type: 'llama', hidden_act: 'silu', bos_token_id: 1, eos_token_id: 2, rms_norm_eps: 1e-5 },
  {
    'qwen2.5-0.5b': llama([151_936, 896, 4864, 24, 14, 2, 32_768], {
      model_type: 'qwen2',
      rms_norm_eps: 1e-6,
      rope_theta: 1_000_000,
      tie_word_embeddings: true,
    }),
    'tinyllama-1.1b': llama([32_000, 2048, 5632, 22, 32, 4, 2048]),
    'llama-3.2-1b': llama([128_256, 2048, 8192, 16, 32, 8, 131_072], {
      rope_theta: 500_000,
      tie_word_embeddings: true,
    }),
    'llama-2-7b': llama([32_000, 4096, 11_008, 32, 32, 32, 4096]),
    'llama-2-13b': llama([32_000, 5120, 13_824, 40, 40, 40, 4096]),
  },
);

/** 354, 742 and 1170 million parameters. */
const lfm2s = sizesOf(
  {
    model_type: 'lfm2',
    vocab_size: 65_536,
    num_key_value_heads: 8,
    num_hidden_layers: 16,
    full_attn_idxs: [2, 5, 8, 10, 12, 14],
    conv_L_cache: 3,
    norm_eps: 1e-5,
    rope_theta: 1_000_000,
    max_position_embeddings: 128_000,
    bos_token_id: 1,
    eos_token_id: 7,
    pad_token_id: 0,
  },
  {
    'lfm2-350m': { hidden_size: 1024, block_ff_dim: 6656, num_attention_heads: 16 },
    'lfm2-700m': { hidden_size: 1536, block_ff_dim: 10_240, num_attention_heads: 24 },
    'lfm2-1.2b': { hidden_size: 2048, block_ff_dim: 12_288, num_attention_heads: 32 },
  },
);

/** The smallest published size's text model: 752 million parameters. */
const qwen35Shape = {
  model_type: 'qwen3_5_text',
  vocab_size: 248_320,
  hidden_size: 1024,
  intermediate_size: 3584,
  num_hidden_layers: 24,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  head_dim: 256,
  full_attention_interval: 4,
  linear_num_key_heads: 16,
  linear_num_value_heads: 16,
  rope_parameters: { rope_type: 'default', rope_theta: 10_000_000, partial_rotary_factor: 0.25 },
  max_position_embeddings: 262_144,
  tie_word_embeddings: true,
  eos_token_id: 248_044,
} as const;

/** 268 and 1000 million parameters. */
const gemma3s = sizesOf(
  {
    model_type: 'gemma3_text',
    vocab_size: 262_144,
    num_attention_heads: 4,
    num_key_value_heads: 1,
    head_dim: 256,
    sliding_window: 512,
    sliding_window_pattern: 6,
    query_pre_attn_scalar: 256,
    rope_theta: 1_000_000,
    rope_local_base_freq: 10_000,
    max_position_embeddings: 32_768,
    bos_token_id: 2,
    eos_token_id: 1,
    pad_token_id: 0,
  },
  {
    'gemma3-270m': { hidden_size: 640, intermediate_size: 2048, num_hidden_layers: 18 },
    'gemma3-1b': { hidden_size: 1152, intermediate_size: 6912, num_hidden_layers: 26 },
  },
);

/** Mamba-2 layers, except some with attention. */
function layersWith(layers: number, attentions: readonly number[]): JsonObject {
  const types = Array.from({ length: layers }, (_, layer) => (attentions.includes(layer) ? 'attention' : 'mamba'));
  return { num_hidden_layers: layers, layer_types: types };
}

/** 340 and 1462 million parameters. */
const granites = sizesOf(
  {
    model_type: 'granitemoehybrid',
    vocab_size: 100_352,
    num_attention_heads: 12,
    num_key_value_heads: 4,
    embedding_multiplier: 12,
    residual_multiplier: 0.246,
    rms_norm_eps: 1e-5,
    position_embedding_type: 'nope',
    mamba_n_heads: 48,
    mamba_d_state: 128,
    mamba_n_groups: 1,
    tie_word_embeddings: true,
    max_position_embeddings: 32_768,
  },
  {
    'granite4-h-350m': {
      hidden_size: 768,
      shared_intermediate_size: 2048,
      logits_scaling: 3,
      ...layersWith(32, [10, 13, 17, 27]),
      attention_multiplier: 1 / 64,
      mamba_d_head: 32,
    },
    'granite4-h-1b': {
      hidden_size: 1536,
      shared_intermediate_size: 4096,
      logits_scaling: 6,
      ...layersWith(40, [5, 15, 25, 35]),
      attention_multiplier: 1 / 128,
      mamba_d_head: 64,
    },
  },
);

/** 91 and 521 million parameters. */
const falcons = sizesOf(
  {
    model_type: 'falcon_h1',
    num_attention_heads: 8,
    num_key_value_heads: 2,
    head_dim: 64,
    rope_theta: 1e11,
    mamba_n_heads: 24,
    mamba_n_groups: 1,
    mamba_d_conv: 4,
  },
  {
    'falcon-h1-90m': {
      vocab_size: 32_768,
      hidden_size: 512,
      num_hidden_layers: 24,
      intermediate_size: 768,
      mamba_d_ssm: 768,
      mamba_d_head: 32,
      mamba_d_state: 64,
      max_position_embeddings: 262_144,
      embedding_multiplier: 0.11083984375,
      lm_head_multiplier: 0.078125,
      tie_word_embeddings: true,
    },
    'falcon-h1-0.5b': {
      vocab_size: 32_784,
      hidden_size: 1024,
      num_hidden_layers: 36,
      intermediate_size: 2048,
      mamba_d_ssm: 1536,
      mamba_d_head: 64,
      mamba_d_state: 128,
      max_position_embeddings: 16_384,
      embedding_multiplier: 4 * Math.SQRT2,
      lm_head_multiplier: 0.0390625,
      key_multiplier: 0.390625,
      attention_out_multiplier: 0.9375,
      ssm_in_multiplier: 1.25,
      ssm_out_multiplier: Math.SQRT2 / 6,
      mlp_multipliers: [0.625 * Math.SQRT2, 0.5859375],
      ssm_multipliers: [Math.SQRT2 / 4, 0.25, Math.SQRT2 / 4, 0.5, Math.SQRT2 / 4],
    },
  },
);

/** The paper's: it says 110M; the reference code's layers, embedding and head add up to 164.7M. */
const flashPaperShape = {
  model_type: 'flash',
  vocab_size: 50257,
  dim: 768,
  depth: 24,
  convolution: defaultKernel,
} as const;

const published: Shapes = {
  ...llamas,
  ...gpt2s,
  ...lfm2s,
  'qwen3.5-0.8b': qwen35Shape,
  ...gemma3s,
  ...granites,
  ...falcons,
  'flash-110m': flashPaperShape,
};

const encoders: Shapes = { ...berts, ...t5s };

/** Encoders, and encoders with a decoder, that `publishedShape` knows, by name. */
export const encoderShapeNames: readonly string[] = Object.keys(encoders);

/** Causal models that `publishedShape` knows, by name. */
export const publishedShapeNames: readonly string[] = Object.keys(published);

/** A published size's config.json. @throws LinnetError `CONFIG` for an unknown name */
export function publishedShape(name: string): Record<string, unknown> {
  return shapeNamed({ ...published, ...encoders }, name);
}

const presets: Shapes = {
  /** Small enough to train on a laptop: 2.6M parameters besides the vocabulary's. */
  'flash-small': { ...flashPaperShape, vocab_size: 512, dim: 256, depth: 6 },
  /** To compare with `flash-small`: 3.0M parameters besides the vocabulary's. */
  'llama-small': {
    model_type: 'llama',
    vocab_size: 512,
    hidden_size: 256,
    intermediate_size: 640,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    max_position_embeddings: 1024,
  },
  ...published,
};

/** Causal models that `modelPreset` knows, by name. */
export const modelPresetNames: readonly string[] = Object.keys(presets);

/** A model's config.json by name. @throws LinnetError `CONFIG` for an unknown name */
export function modelPreset(name: string): Record<string, unknown> {
  return shapeNamed(presets, name);
}
