/** The attentions that the support matrix tries mixers in: every family, in every direction it has. */
import type { MixerConfig } from '../../attention/mixer.ts';
import { describeModel, type Model } from '../../models/families/index.ts';
import { withMixer } from '../../models/linearization/linearize.ts';
import type { AttentionPart } from '../../models/config-fields.ts';
import { t5Model } from '../../models/families/t5/model.ts';
import type { JsonObject } from '../../files/json-object.ts';

/** How an attention looks at a text: backwards only, both ways, or at another text. */
export type Direction = 'causal' | 'bidirectional' | 'cross';

/** Attentions of one kind in a tiny model of a family. */
export interface SupportProbe {
  readonly family: string;
  readonly direction: Direction;
  /** A tiny model with the mixer in all attentions of this direction. @throws LinnetError if that is impossible */
  model(mixer: MixerConfig): Model;
}

const tiny = { vocab_size: 19, num_hidden_layers: 2, num_attention_heads: 4, hidden_size: 16, intermediate_size: 24 };

const tinyDecoder = { ...tiny, num_key_value_heads: 2, max_position_embeddings: 64 };

/** Layers of Gated DeltaNet. */
const tinyStates = {
  linear_num_key_heads: 1,
  linear_num_value_heads: 2,
  linear_key_head_dim: 4,
  linear_value_head_dim: 6,
};

const tinyDelta = {
  ...tinyDecoder,
  head_dim: 8,
  partial_rotary_factor: 0.5,
  full_attention_interval: 2,
  ...tinyStates,
};

const tinyT5 = {
  model_type: 't5',
  vocab_size: 19,
  d_model: 16,
  d_kv: 4,
  d_ff: 24,
  num_heads: 4,
  num_layers: 2,
  num_decoder_layers: 2,
  relative_attention_num_buckets: 8,
  decoder_start_token_id: 0,
  pad_token_id: 0,
  eos_token_id: 1,
};

/** A probe of a family whose attentions are all of one direction. */
function uniform(direction: Direction, config: FamilyConfig): SupportProbe {
  return { family: config.model_type, direction, model: (mixer) => withMixer<Model>(describeModel(config), mixer) };
}

/** A probe of one part of a T5; the other parts stay softmax. */
function part(name: AttentionPart, direction: Direction): SupportProbe {
  return {
    family: 't5',
    direction,
    model(mixer) {
      const plain = t5Model(tinyT5);
      return plain.withMixers(
        plain.attentions.map(({ part: own }, index) => (own === name ? mixer : plain.mixers[index])),
      );
    },
  };
}

type FamilyConfig = JsonObject & { readonly model_type: string };

/** Families that read the past. A new one adds its line here, or below. */
const causal: readonly FamilyConfig[] = [
  { model_type: 'llama', ...tinyDecoder },
  { model_type: 'mistral', ...tinyDecoder },
  { model_type: 'qwen2', ...tinyDecoder },
  { model_type: 'qwen3', ...tinyDecoder, head_dim: 6 },
  {
    model_type: 'falcon_h1',
    ...tinyDecoder,
    mamba_d_ssm: 8,
    mamba_n_heads: 2,
    mamba_d_head: 4,
    mamba_d_state: 4,
    mamba_n_groups: 1,
  },
  { model_type: 'granite', ...tinyDecoder, attention_multiplier: 0.3 },
  {
    model_type: 'granitemoehybrid',
    ...tinyDecoder,
    shared_intermediate_size: 24,
    mamba_n_heads: 4,
    mamba_d_state: 5,
    layer_types: ['mamba', 'attention'],
  },
  { model_type: 'lfm2', ...tinyDecoder, block_multiple_of: 8, full_attn_idxs: [1] },
  { model_type: 'qwen3_5', text_config: { model_type: 'qwen3_5_text', ...tinyDelta } },
  { model_type: 'qwen3_5_text', ...tinyDelta },
  { model_type: 'qwen3_next', ...tinyDelta, num_experts: 0 },
  {
    model_type: 'olmo_hybrid',
    ...tinyDecoder,
    ...tinyStates,
    rope_parameters: { rope_theta: 10_000 },
  },
  {
    model_type: 'gemma3_text',
    ...tinyDecoder,
    head_dim: 6,
    sliding_window: 5,
    sliding_window_pattern: 2,
  },
  { model_type: 'smollm3', ...tinyDecoder, no_rope_layer_interval: 2 },
  {
    model_type: 'gpt2',
    vocab_size: 19,
    n_positions: 64,
    n_embd: 16,
    n_layer: 2,
    n_head: 4,
  },
  {
    model_type: 'flash',
    vocab_size: 19,
    dim: 16,
    depth: 2,
    group_size: 4,
    query_key_dim: 8,
    trained_length: 64,
  },
];

/** Families that read whole texts. */
const bidirectional: readonly FamilyConfig[] = [
  {
    ...tiny,
    model_type: 'bert',
    max_position_embeddings: 64,
    type_vocab_size: 2,
  },
  {
    ...tiny,
    model_type: 'roberta',
    max_position_embeddings: 66,
    type_vocab_size: 1,
  },
  {
    ...tiny,
    model_type: 'xlm-roberta',
    max_position_embeddings: 66,
    type_vocab_size: 1,
  },
  {
    model_type: 'distilbert',
    vocab_size: 19,
    max_position_embeddings: 64,
    dim: 16,
    hidden_dim: 24,
    n_layers: 2,
    n_heads: 4,
  },
];

/** All probes, in the order of the matrix. */
export const supportProbes: readonly SupportProbe[] = [
  ...causal.map((config) => uniform('causal', config)),
  ...bidirectional.map((config) => uniform('bidirectional', config)),
  part('encoder', 'bidirectional'),
  part('decoder', 'causal'),
  part('cross', 'cross'),
];
