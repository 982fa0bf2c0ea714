/** A model small enough for end-to-end tests: random weights, byte tokenizer. */
import { saveModel } from '../../src/checkpoint/load-model.ts';
import { describeModel } from '../../src/models/families/index.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { Random } from '../../src/random.ts';
import { tokenizerFileContents } from '../../src/tokenizer/byte-level.ts';
import { byteTokenizerFiles } from '../../src/tokenizer/bytes.ts';

/** What LLaMA and its relatives have in common. */
const tinyDecoder = {
  vocab_size: 258,
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  tie_word_embeddings: true,
  bos_token_id: 256,
  eos_token_id: 257,
};

const tinyDeltaNetSizes = {
  ...{ linear_num_key_heads: 1, linear_num_value_heads: 2, linear_key_head_dim: 4, linear_value_head_dim: 6 },
};

/** A layer of Gated DeltaNet, then one of attention. */
const tinyDeltaNet = {
  ...{ ...tinyDecoder, head_dim: 8, partial_rotary_factor: 0.5, full_attention_interval: 2 },
  ...tinyDeltaNetSizes,
};

/** The row of padding and the one before it come first. */
const tinyRoberta = {
  ...{ vocab_size: 258, max_position_embeddings: 66, type_vocab_size: 1, layer_norm_eps: 1e-5, pad_token_id: 1 },
  ...{ hidden_size: 16, intermediate_size: 32, num_hidden_layers: 2, num_attention_heads: 2 },
};

/** Models of every family: two layers of width 16 with two heads, 64 positions, the family's own attention. */
const tinyConfigs: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  bert: {
    model_type: 'bert',
    vocab_size: 258,
    max_position_embeddings: 64,
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 2,
  },
  distilbert: {
    ...{ model_type: 'distilbert', vocab_size: 258, max_position_embeddings: 64 },
    ...{ dim: 16, hidden_dim: 32, n_layers: 2, n_heads: 2 },
  },
  falcon_h1: {
    ...{
      model_type: 'falcon_h1',
      ...tinyDecoder,
      mamba_n_heads: 4,
      mamba_d_head: 6,
      mamba_d_ssm: 24,
      mamba_d_state: 4,
    },
    ...{
      mamba_n_groups: 2,
      mamba_rms_norm: true,
      mamba_norm_before_gate: false,
      key_multiplier: 0.8,
      ssm_multipliers: [0.9, 0.8, 0.7, 0.6, 0.5],
    },
    ...{ attention_in_multiplier: 0.9, attention_out_multiplier: 0.8, ssm_in_multiplier: 0.7, ssm_out_multiplier: 0.6 },
  },
  flash: {
    model_type: 'flash',
    vocab_size: 258,
    dim: 16,
    depth: 2,
    group_size: 8,
    query_key_dim: 8,
    convolution: 9,
    trained_length: 64,
    bos_token_id: 256,
    eos_token_id: 257,
  },
  gemma3_text: {
    ...{ model_type: 'gemma3_text', ...tinyDecoder, head_dim: 8, query_pre_attn_scalar: 9 },
    ...{ sliding_window: 6, sliding_window_pattern: 2, rope_local_base_freq: 100 },
  },
  gpt2: {
    model_type: 'gpt2',
    vocab_size: 258,
    n_positions: 64,
    n_embd: 16,
    n_layer: 2,
    n_head: 2,
    bos_token_id: 256,
    eos_token_id: 257,
  },
  granite: {
    ...{ model_type: 'granite', ...tinyDecoder, attention_multiplier: 0.3, embedding_multiplier: 2 },
    ...{ residual_multiplier: 0.7, logits_scaling: 2 },
  },
  granitemoehybrid: {
    ...{ model_type: 'granitemoehybrid', ...tinyDecoder, shared_intermediate_size: 32 },
    ...{ attention_multiplier: 0.3, embedding_multiplier: 2, residual_multiplier: 0.7, logits_scaling: 2 },
    ...{ layer_types: ['mamba', 'attention'], mamba_n_heads: 4, mamba_d_state: 6 },
  },
  lfm2: { model_type: 'lfm2', ...tinyDecoder, block_multiple_of: 8, full_attn_idxs: [1] },
  llama: { model_type: 'llama', ...tinyDecoder },
  mistral: { model_type: 'mistral', ...tinyDecoder, sliding_window: 12 },
  olmo_hybrid: {
    ...{ model_type: 'olmo_hybrid', ...tinyDecoder, ...tinyDeltaNetSizes },
    rope_parameters: { rope_theta: 10_000 },
  },
  qwen2: { model_type: 'qwen2', ...tinyDecoder },
  qwen3: { model_type: 'qwen3', ...tinyDecoder, head_dim: 12 },
  qwen3_5: {
    ...{ model_type: 'qwen3_5', tie_word_embeddings: true, vision_config: { depth: 1 } },
    text_config: { model_type: 'qwen3_5_text', ...tinyDeltaNet },
  },
  qwen3_5_text: { model_type: 'qwen3_5_text', ...tinyDeltaNet },
  qwen3_next: { model_type: 'qwen3_next', ...tinyDeltaNet },
  roberta: { model_type: 'roberta', ...tinyRoberta },
  smollm3: { model_type: 'smollm3', ...tinyDecoder, no_rope_layer_interval: 2 },
  t5: {
    model_type: 't5',
    vocab_size: 258,
    d_model: 16,
    d_kv: 8,
    d_ff: 32,
    num_layers: 2,
    num_heads: 2,
    n_positions: 64,
    relative_attention_num_buckets: 8,
    relative_attention_max_distance: 20,
    pad_token_id: 256,
    decoder_start_token_id: 256,
    eos_token_id: 257,
  },
  'xlm-roberta': { model_type: 'xlm-roberta', ...tinyRoberta },
};

/** A config.json of a family. Every supported family must have one. */
export function tinyConfig(family: string): Readonly<Record<string, unknown>> {
  const config = tinyConfigs[family];
  if (config === undefined) throw new Error(`add a tiny model of the family ${family}`);
  return config;
}

/**
 * Saves a tiny model; the LLaMA has one key-value head.
 * @param whole whether it has the optional parameters, such as a layer of multi-token prediction
 */
export async function saveTinyModel(folder: string, seed = 1, family = 'llama', whole = false): Promise<void> {
  const model = describeModel(tinyConfig(family));
  const declared = new Map([...model.parameters, ...(whole ? (model.optionalParameters ?? []) : [])]);
  // A deviation far above that of training, so that predictions differ clearly.
  const parameters = initializeParameters({ ...model, parameters: declared }, new Random(seed), 0.5);
  await saveModel(folder, { model, parameters }, { tokenizerFiles: tokenizerFileContents(byteTokenizerFiles()) });
}
