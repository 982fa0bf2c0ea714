/** config.json of LLaMAs that benchmarks fill with random weights: heads of 64 numbers, as many of keys as of queries. */

export interface RandomLlamaSizes {
  readonly width: number;
  readonly layers: number;
  readonly vocabulary: number;
  /** Most positions. */
  readonly length: number;
  /** Width of the feed-forward layers in widths. Default 3. */
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
