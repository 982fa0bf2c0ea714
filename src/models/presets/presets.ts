/** Sizes of models by name, as config.json for `describeModel`, for pre-training and synthetic models: published and small ones. */
import { defaultKernel } from '../../attention/convolution-config.ts';
import { LinnetError } from '../../errors.ts';

/** @throws LinnetError `CONFIG` for an unknown name, listing the known ones */
function namedShape<Shape>(family: string, shapes: Readonly<Record<string, Shape>>, name: string): Shape {
  if (Object.hasOwn(shapes, name)) return shapes[name];
  throw new LinnetError('CONFIG', `unknown ${family} size "${name}"; the sizes are ${Object.keys(shapes).join(', ')}`);
}

const bertSizes = {
  'bert-base': { num_hidden_layers: 12, hidden_size: 768, num_attention_heads: 12, intermediate_size: 3072 },
  'bert-large': { num_hidden_layers: 24, hidden_size: 1024, num_attention_heads: 16, intermediate_size: 4096 },
};

/** The names that `bertShape` knows: 110M and 335M parameters. */
export const bertShapeNames: readonly string[] = Object.keys(bertSizes);

/** The config.json of a published size, with the uncased vocabulary. @throws LinnetError `CONFIG` for an unknown name */
export function bertShape(name: string): Record<string, unknown> {
  return {
    model_type: 'bert',
    architectures: ['BertForMaskedLM'],
    vocab_size: 30522,
    ...namedShape('BERT', bertSizes, name),
    hidden_act: 'gelu',
    max_position_embeddings: 512,
    type_vocab_size: 2,
    layer_norm_eps: 1e-12,
    pad_token_id: 0,
  };
}

const gpt2Sizes = {
  gpt2: { n_layer: 12, n_embd: 768, n_head: 12 },
  'gpt2-medium': { n_layer: 24, n_embd: 1024, n_head: 16 },
  'gpt2-large': { n_layer: 36, n_embd: 1280, n_head: 20 },
  'gpt2-xl': { n_layer: 48, n_embd: 1600, n_head: 25 },
};

/** The names that `gpt2Shape` knows: 124M, 355M, 774M and 1.6B parameters. */
export const gpt2ShapeNames: readonly string[] = Object.keys(gpt2Sizes);

/** The config.json of a published size. @throws LinnetError `CONFIG` for an unknown name */
export function gpt2Shape(name: string): Record<string, unknown> {
  return {
    model_type: 'gpt2',
    vocab_size: 50257,
    n_positions: 1024,
    ...namedShape('GPT-2', gpt2Sizes, name),
    layer_norm_epsilon: 1e-5,
    activation_function: 'gelu_new',
    bos_token_id: 50256,
    eos_token_id: 50256,
  };
}

/** Version 1.0: relu, tied head. */
const original = { feed_forward_proj: 'relu', tie_word_embeddings: true };
/** Version 1.1: gated gelu, an untied head. */
const improved = { feed_forward_proj: 'gated-gelu', tie_word_embeddings: false };

const t5Sizes = {
  't5-small': { d_model: 512, d_ff: 2048, num_layers: 6, num_heads: 8, ...original },
  't5-base': { d_model: 768, d_ff: 3072, num_layers: 12, num_heads: 12, ...original },
  't5-large': { d_model: 1024, d_ff: 4096, num_layers: 24, num_heads: 16, ...original },
  't5-v1_1-small': { d_model: 512, d_ff: 1024, num_layers: 8, num_heads: 6, ...improved },
  't5-v1_1-base': { d_model: 768, d_ff: 2048, num_layers: 12, num_heads: 12, ...improved },
  't5-v1_1-large': { d_model: 1024, d_ff: 2816, num_layers: 24, num_heads: 16, ...improved },
};

/** The names that `t5Shape` knows. */
export const t5ShapeNames: readonly string[] = Object.keys(t5Sizes);

/** The config.json of a published size. @throws LinnetError `CONFIG` for an unknown name */
export function t5Shape(name: string): Record<string, unknown> {
  return {
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
    ...namedShape('T5', t5Sizes, name),
  };
}

interface LlamaShape {
  /** Default `llama`. */
  readonly model_type?: 'llama' | 'qwen2';
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly rope_theta?: number;
  readonly tie_word_embeddings?: boolean;
}

const llamaSizes: Readonly<Record<string, LlamaShape>> = {
  'qwen2.5-0.5b': {
    model_type: 'qwen2',
    vocab_size: 151_936,
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    max_position_embeddings: 32_768,
    rms_norm_eps: 1e-6,
    rope_theta: 1_000_000,
    tie_word_embeddings: true,
  },
  'tinyllama-1.1b': {
    vocab_size: 32_000,
    hidden_size: 2048,
    intermediate_size: 5632,
    num_hidden_layers: 22,
    num_attention_heads: 32,
    num_key_value_heads: 4,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
  },
  'llama-3.2-1b': {
    vocab_size: 128_256,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-5,
    rope_theta: 500_000,
    tie_word_embeddings: true,
  },
  'llama-2-7b': {
    vocab_size: 32_000,
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
  },
  'llama-2-13b': {
    vocab_size: 32_000,
    hidden_size: 5120,
    intermediate_size: 13_824,
    num_hidden_layers: 40,
    num_attention_heads: 40,
    num_key_value_heads: 40,
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
  },
};

/** The names that `llamaShape` knows: 0.5, 1.1, 1.2, 6.7 and 13 billion parameters. */
export const llamaShapeNames: readonly string[] = Object.keys(llamaSizes);

/** The config.json of a published size. @throws LinnetError `CONFIG` for an unknown name */
export function llamaShape(name: string): Record<string, unknown> & LlamaShape {
  return {
    model_type: 'llama',
    hidden_act: 'silu',
    bos_token_id: 1,
    eos_token_id: 2,
    ...namedShape('LLaMA', llamaSizes, name),
  };
}

const lfm2Sizes = {
  'lfm2-350m': { hidden_size: 1024, block_ff_dim: 6656, num_attention_heads: 16 },
  'lfm2-700m': { hidden_size: 1536, block_ff_dim: 10_240, num_attention_heads: 24 },
  'lfm2-1.2b': { hidden_size: 2048, block_ff_dim: 12_288, num_attention_heads: 32 },
};

/** The names that `lfm2Shape` knows: 354, 742 and 1170 million parameters. */
export const lfm2ShapeNames: readonly string[] = Object.keys(lfm2Sizes);

/** The config.json of a published size. @throws LinnetError `CONFIG` for an unknown name */
export function lfm2Shape(name: string): Record<string, unknown> {
  return {
    model_type: 'lfm2',
    vocab_size: 65_536,
    ...namedShape('LFM2', lfm2Sizes, name),
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
  };
}

/** The text model of the smallest published size: 752 million parameters. */
const qwen35Shape = {
  ...{ model_type: 'qwen3_5_text', vocab_size: 248_320, hidden_size: 1024, intermediate_size: 3584 },
  ...{ num_hidden_layers: 24, num_attention_heads: 8, num_key_value_heads: 2, head_dim: 256 },
  ...{ full_attention_interval: 4, linear_num_key_heads: 16, linear_num_value_heads: 16 },
  rope_parameters: { rope_type: 'default', rope_theta: 10_000_000, partial_rotary_factor: 0.25 },
  ...{ max_position_embeddings: 262_144, tie_word_embeddings: true, eos_token_id: 248_044 },
} as const;

const gemma3Sizes = {
  'gemma3-270m': { hidden_size: 640, intermediate_size: 2048, num_hidden_layers: 18 },
  'gemma3-1b': { hidden_size: 1152, intermediate_size: 6912, num_hidden_layers: 26 },
};

/** The names that `gemma3Shape` knows: 268 and 1000 million parameters. */
export const gemma3ShapeNames: readonly string[] = Object.keys(gemma3Sizes);

/** The config.json of a published size. @throws LinnetError `CONFIG` for an unknown name */
export function gemma3Shape(name: string): Record<string, unknown> {
  return {
    ...{ model_type: 'gemma3_text', vocab_size: 262_144, ...namedShape('Gemma 3', gemma3Sizes, name) },
    ...{
      num_attention_heads: 4,
      num_key_value_heads: 1,
      head_dim: 256,
      sliding_window: 512,
      sliding_window_pattern: 6,
    },
    ...{ query_pre_attn_scalar: 256, rope_theta: 1_000_000, rope_local_base_freq: 10_000 },
    ...{ max_position_embeddings: 32_768, bos_token_id: 2, eos_token_id: 1, pad_token_id: 0 },
  };
}

const graniteSizes = {
  'granite4-h-350m': {
    ...{ hidden_size: 768, num_hidden_layers: 32, shared_intermediate_size: 2048, logits_scaling: 3 },
    ...{ attention_multiplier: 1 / 64, mamba_d_head: 32, attentions: [10, 13, 17, 27] },
  },
  'granite4-h-1b': {
    ...{ hidden_size: 1536, num_hidden_layers: 40, shared_intermediate_size: 4096, logits_scaling: 6 },
    ...{ attention_multiplier: 1 / 128, mamba_d_head: 64, attentions: [5, 15, 25, 35] },
  },
};

/** The names that `graniteShape` knows: 340 and 1462 million parameters. */
export const graniteShapeNames: readonly string[] = Object.keys(graniteSizes);

/** The config.json of a published size. @throws LinnetError `CONFIG` for an unknown name */
export function graniteShape(name: string): Record<string, unknown> {
  const { attentions, ...sizes } = namedShape('Granite', graniteSizes, name);
  return {
    ...{ model_type: 'granitemoehybrid', vocab_size: 100_352, ...sizes },
    ...{ num_attention_heads: 12, num_key_value_heads: 4, max_position_embeddings: 32_768 },
    layer_types: Array.from({ length: sizes.num_hidden_layers }, (_, layer) =>
      attentions.includes(layer) ? 'attention' : 'mamba',
    ),
    ...{ embedding_multiplier: 12, residual_multiplier: 0.246, rms_norm_eps: 1e-5, position_embedding_type: 'nope' },
    ...{ mamba_n_heads: 48, mamba_d_state: 128, mamba_n_groups: 1, tie_word_embeddings: true },
  };
}

const falconH1Sizes = {
  'falcon-h1-90m': {
    ...{
      vocab_size: 32_768,
      hidden_size: 512,
      num_hidden_layers: 24,
      intermediate_size: 768,
      tie_word_embeddings: true,
    },
    ...{ mamba_d_ssm: 768, mamba_d_head: 32, mamba_d_state: 64, max_position_embeddings: 262_144 },
    ...{ embedding_multiplier: 0.11083984375, lm_head_multiplier: 0.078125 },
  },
  'falcon-h1-0.5b': {
    ...{ vocab_size: 32_784, hidden_size: 1024, num_hidden_layers: 36, intermediate_size: 2048 },
    ...{ mamba_d_ssm: 1536, mamba_d_head: 64, mamba_d_state: 128, max_position_embeddings: 16_384 },
    ...{ embedding_multiplier: 4 * Math.SQRT2, lm_head_multiplier: 0.0390625, key_multiplier: 0.390625 },
    ...{ attention_out_multiplier: 0.9375, ssm_in_multiplier: 1.25, ssm_out_multiplier: Math.SQRT2 / 6 },
    mlp_multipliers: [0.625 * Math.SQRT2, 0.5859375],
    ssm_multipliers: [Math.SQRT2 / 4, 0.25, Math.SQRT2 / 4, 0.5, Math.SQRT2 / 4],
  },
};

/** The names that `falconH1Shape` knows: 91 and 521 million parameters. */
export const falconH1ShapeNames: readonly string[] = Object.keys(falconH1Sizes);

/** The config.json of a published size. @throws LinnetError `CONFIG` for an unknown name */
export function falconH1Shape(name: string): Record<string, unknown> {
  return {
    ...{ model_type: 'falcon_h1', ...namedShape('Falcon-H1', falconH1Sizes, name) },
    ...{ num_attention_heads: 8, num_key_value_heads: 2, head_dim: 64, rope_theta: 1e11 },
    ...{ mamba_n_heads: 24, mamba_n_groups: 1, mamba_d_conv: 4 },
  };
}

/** The paper's: it says 110M; layers, embedding and head of the reference code add up to 164.7M. */
export const flashPaperShape = {
  model_type: 'flash',
  vocab_size: 50257,
  dim: 768,
  depth: 24,
  convolution: defaultKernel,
} as const;

/** Small enough to be trained on a laptop: 2.6M parameters next to the vocabulary's. */
const flashSmallShape = { ...flashPaperShape, vocab_size: 512, dim: 256, depth: 6 } as const;

const publishedShapes: readonly (readonly [
  names: readonly string[],
  shape: (name: string) => Record<string, unknown>,
])[] = [
  [llamaShapeNames, llamaShape],
  [gpt2ShapeNames, gpt2Shape],
  [lfm2ShapeNames, lfm2Shape],
  [['qwen3.5-0.8b'], () => ({ ...qwen35Shape })],
  [gemma3ShapeNames, gemma3Shape],
  [graniteShapeNames, graniteShape],
  [falconH1ShapeNames, falconH1Shape],
  [['flash-110m'], () => ({ ...flashPaperShape })],
];

/** The names that `publishedShape` knows. */
export const publishedShapeNames: readonly string[] = publishedShapes.flatMap(([names]) => names);

/** The config.json of a published size. @throws LinnetError `CONFIG` for an unknown name */
export function publishedShape(name: string): Record<string, unknown> {
  const [, shape] = publishedShapes.find(([names]) => names.includes(name)) ?? [];
  if (shape !== undefined) return shape(name);
  throw new LinnetError('CONFIG', `unknown model "${name}"; known are ${publishedShapeNames.join(', ')}`);
}

const small: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'flash-small': flashSmallShape,
  /** To be compared with `flash-small`: 3.0M parameters next to the vocabulary's. */
  'llama-small': {
    model_type: 'llama',
    vocab_size: 512,
    hidden_size: 256,
    intermediate_size: 640,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    max_position_embeddings: 1024,
  },
};

/** The names of causal models that `modelPreset` knows. */
export const modelPresetNames: readonly string[] = [...Object.keys(small), ...publishedShapeNames];

/** The config.json of a model by name. @throws LinnetError `CONFIG` for an unknown name */
export function modelPreset(name: string): Record<string, unknown> {
  return Object.hasOwn(small, name) ? { ...small[name] } : publishedShape(name);
}
