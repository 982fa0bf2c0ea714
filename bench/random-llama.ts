/** config.json for LLaMAs that benchmarks fill with random weights: heads of width 64, as many for keys as for queries. */

export interface RandomLlamaSizes {
  readonly width: number;
  readonly layers: number;
  readonly vocabulary: number;
  /** Maximum number of positions. */
  readonly length: number;
  /** Feed-forward width as a multiple of the width. Default 3. */
  readonly expansion?: number;
}

export function randomLlamaConfig({ width, layers, vocabulary, length, expansion = 3 }: RandomLlamaSizes) {
  return {
    model_type: 'llama',
    vocab_size: vocabulary,
    hidden_size: width,
    intermediate_size: expansion * width,
    num_hidden_layers: layers,
    num_attention_heads: width / 64,
    max_position_embeddings: length,
    tie_word_embeddings: true,
  };
}
