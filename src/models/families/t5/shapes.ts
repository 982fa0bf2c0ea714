/** The published sizes of T5, as config.json for `describeModel` and pre-training. */
import { namedShape } from '../../presets/named-shapes.ts';

/** Version 1.0: relu, tied head. */
const original = { feed_forward_proj: 'relu', tie_word_embeddings: true };
/** Version 1.1: gated gelu, an untied head. */
const improved = { feed_forward_proj: 'gated-gelu', tie_word_embeddings: false };

const shapes = {
  't5-small': { d_model: 512, d_ff: 2048, num_layers: 6, num_heads: 8, ...original },
  't5-base': { d_model: 768, d_ff: 3072, num_layers: 12, num_heads: 12, ...original },
  't5-large': { d_model: 1024, d_ff: 4096, num_layers: 24, num_heads: 16, ...original },
  't5-v1_1-small': { d_model: 512, d_ff: 1024, num_layers: 8, num_heads: 6, ...improved },
  't5-v1_1-base': { d_model: 768, d_ff: 2048, num_layers: 12, num_heads: 12, ...improved },
  't5-v1_1-large': { d_model: 1024, d_ff: 2816, num_layers: 24, num_heads: 16, ...improved },
};

/** The names that `t5Shape` knows. */
export const t5ShapeNames: readonly string[] = Object.keys(shapes);

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
    ...namedShape('T5', shapes, name),
  };
}
