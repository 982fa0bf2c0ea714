/** Published sizes of the LLaMA family, as config.json for `describeCausalModel`, synthetic models and measurements. */
import { namedShape } from '../../presets/named-shapes.ts';

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

const shapes: Readonly<Record<string, LlamaShape>> = {
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
export const llamaShapeNames: readonly string[] = Object.keys(shapes);

/** The config.json of a published size. @throws LinnetError `CONFIG` for an unknown name */
export function llamaShape(name: string): Record<string, unknown> & LlamaShape {
  return {
    model_type: 'llama',
    hidden_act: 'silu',
    bos_token_id: 1,
    eos_token_id: 2,
    ...namedShape('LLaMA', shapes, name),
  };
}
