/** Models in GGUF files that are not decoders: BERT and T5. */
import { type Architecture, headWidthOf } from './decoder-parts.ts';
import type { Rules } from './recipes.ts';

/** Names in a T5 block: attentions are its first layers, the feed-forward its last. */
function t5Block(feedForward: number, gated: boolean): Rules {
  const dense = `layer.${feedForward}.DenseReluDense`;
  return {
    attn_norm: 'layer.0.layer_norm',
    attn_q: 'layer.0.SelfAttention.q',
    attn_k: 'layer.0.SelfAttention.k',
    attn_v: 'layer.0.SelfAttention.v',
    attn_o: 'layer.0.SelfAttention.o',
    attn_rel_b: 'layer.0.SelfAttention.relative_attention_bias',
    cross_attn_norm: 'layer.1.layer_norm',
    cross_attn_q: 'layer.1.EncDecAttention.q',
    cross_attn_k: 'layer.1.EncDecAttention.k',
    cross_attn_v: 'layer.1.EncDecAttention.v',
    cross_attn_o: 'layer.1.EncDecAttention.o',
    cross_attn_rel_b: 'layer.1.EncDecAttention.relative_attention_bias',
    ffn_norm: `layer.${feedForward}.layer_norm`,
    ffn_gate: `${dense}.wi_0`,
    ffn_up: gated ? `${dense}.wi_1` : `${dense}.wi`,
    ffn_down: `${dense}.wo`,
  };
}

/** By the file's architecture name. */
export const textArchitectures: Readonly<Record<string, Architecture>> = {
  bert: {
    config: (metadata) => ({
      model_type: 'bert',
      architectures: ['BertModel'],
      vocab_size: metadata.rowsOf('token_embd'),
      hidden_size: metadata.number('embedding_length'),
      num_hidden_layers: metadata.layers,
      num_attention_heads: metadata.number('attention.head_count'),
      intermediate_size: metadata.number('feed_forward_length'),
      max_position_embeddings: metadata.rowsOf('position_embd') ?? metadata.number('context_length'),
      type_vocab_size: metadata.rowsOf('token_types'),
      layer_norm_eps: metadata.number('attention.layer_norm_epsilon'),
      hidden_act: 'gelu',
    }),
    rules: () => ({
      model: {
        token_embd: 'bert.embeddings.word_embeddings',
        token_types: 'bert.embeddings.token_type_embeddings',
        position_embd: 'bert.embeddings.position_embeddings',
        token_embd_norm: 'bert.embeddings.LayerNorm',
      },
      layers: {
        blk: {
          to: 'bert.encoder.layer',
          rules: {
            attn_q: 'attention.self.query',
            attn_k: 'attention.self.key',
            attn_v: 'attention.self.value',
            attn_output: 'attention.output.dense',
            attn_output_norm: 'attention.output.LayerNorm',
            ffn_up: 'intermediate.dense',
            ffn_down: 'output.dense',
            layer_output_norm: 'output.LayerNorm',
          },
        },
      },
    }),
  },
  t5: {
    config(metadata) {
      const layers = metadata.layers;
      return {
        model_type: 't5',
        architectures: ['T5ForConditionalGeneration'],
        vocab_size: metadata.rowsOf('token_embd'),
        d_model: metadata.number('embedding_length'),
        d_kv: headWidthOf(metadata),
        d_ff: metadata.number('feed_forward_length'),
        num_layers: layers,
        num_decoder_layers: metadata.number('decoder_block_count', layers),
        num_heads: metadata.number('attention.head_count'),
        n_positions: metadata.number('context_length'),
        relative_attention_num_buckets: metadata.number('attention.relative_buckets_count', 32),
        feed_forward_proj: metadata.tensors.has('enc.blk.0.ffn_gate.weight') ? 'gated-gelu' : 'relu',
        layer_norm_epsilon: metadata.number('attention.layer_norm_rms_epsilon', 1e-6),
        tie_word_embeddings: !metadata.tensors.has('output.weight'),
        decoder_start_token_id: metadata.number('decoder_start_token_id', 0),
        pad_token_id: metadata.token('padding') ?? 0,
      };
    },
    rules(metadata) {
      const gated = metadata.tensors.has('enc.blk.0.ffn_gate.weight');
      return {
        model: {
          token_embd: 'shared',
          'enc.output_norm': 'encoder.final_layer_norm',
          'dec.output_norm': 'decoder.final_layer_norm',
          output: 'lm_head',
        },
        layers: {
          'enc.blk': { to: 'encoder.block', rules: t5Block(1, gated) },
          'dec.blk': { to: 'decoder.block', rules: t5Block(2, gated) },
        },
      };
    },
  },
};
