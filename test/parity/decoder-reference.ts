/**
 * LLaMA and its relatives as loops in float64, written from what was published of them: LLaMA (arXiv 2302.13971) with the
 * rotary scaling of LLaMA 3.1, Mistral's sliding window (arXiv 2310.06825, section 2), the biases of Qwen2 (arXiv
 * 2407.10671, section 2.2.1), the norms of Qwen3 (arXiv 2505.09388, section 2) and the factors of Granite. It reads a config.json and the tensors
 * of a checkpoint by itself, and shares no code with what it checks.
 */
export interface ReferenceConfig {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim?: number;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
  readonly rope_scaling?: {
    readonly rope_type: 'llama3';
    readonly factor: number;
    readonly low_freq_factor: number;
    readonly high_freq_factor: number;
    readonly original_max_position_embeddings: number;
  };
  readonly sliding_window?: number | null;
  readonly tie_word_embeddings: boolean;
  /** Granite's: of embeddings, of what a layer adds, of scores (in place of 1/√D), and the divisor of logits. */
  readonly embedding_multiplier?: number;
  readonly residual_multiplier?: number;
  readonly attention_multiplier?: number;
  readonly logits_scaling?: number;
}

/** A tensor of the checkpoint by its name; undefined where there is none. */
export type ReferenceWeights = (name: string) => ArrayLike<number> | undefined;

/** Logits of every position: [n][V]. */
export function referenceLogits(
  config: ReferenceConfig,
  weights: ReferenceWeights,
  tokens: ArrayLike<number>,
): number[][] {
  const { hidden_size: width, rms_norm_eps: epsilon } = config;
  const table = tensor(weights, 'model.embed_tokens.weight');
  const head = config.tie_word_embeddings ? table : tensor(weights, 'lm_head.weight');
  const { embedding_multiplier: ofTable = 1, residual_multiplier: ofAdded = 1, logits_scaling: divisor = 1 } = config;
  let stream = Array.from(tokens, (token) => rowOf(table, token, width).map((value) => ofTable * value));
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const own = (name: string): ArrayLike<number> | undefined => weights(`model.layers.${layer}.${name}`);
    const attended = attention(config, own, normalized(stream, tensor(own, 'input_layernorm.weight'), epsilon));
    stream = stream.map((x, i) => x.map((value, f) => value + ofAdded * attended[i][f]));
    const inner = normalized(stream, tensor(own, 'post_attention_layernorm.weight'), epsilon);
    stream = stream.map((x, i) => {
      const gate = product(tensor(own, 'mlp.gate_proj.weight'), inner[i]);
      const up = product(tensor(own, 'mlp.up_proj.weight'), inner[i]);
      const gated = gate.map((g, f) => (g / (1 + Math.exp(-g))) * up[f]);
      const down = product(tensor(own, 'mlp.down_proj.weight'), gated);
      return x.map((value, f) => value + ofAdded * down[f]);
    });
  }
  return normalized(stream, tensor(weights, 'model.norm.weight'), epsilon).map((x) =>
    product(head, x).map((logit) => logit / divisor),
  );
}

function attention(config: ReferenceConfig, weights: ReferenceWeights, inputs: number[][]): number[][] {
  const { num_attention_heads: H, num_key_value_heads: M, rms_norm_eps: epsilon } = config;
  const D = config.head_dim ?? config.hidden_size / H;
  const heads = (name: string, count: number): number[][][] =>
    inputs.map((x) => {
      const bias = weights(`self_attn.${name}_proj.bias`);
      const all = product(tensor(weights, `self_attn.${name}_proj.weight`), x).map((y, f) => y + (bias?.[f] ?? 0));
      const rows = Array.from({ length: count }, (_, h) => all.slice(h * D, (h + 1) * D));
      const gain = weights(`self_attn.${name}_norm.weight`);
      return gain === undefined ? rows : normalized(rows, gain, epsilon);
    });
  const scale = config.attention_multiplier ?? 1 / Math.sqrt(D);
  const angles = frequencies(config, D);
  const turn = (rows: number[][][]): number[][][] =>
    rows.map((row, position) => row.map((x) => turned(x, position, angles)));
  const [q, k, v] = [turn(heads('q', H)), turn(heads('k', M)), heads('v', M)];
  const output = tensor(weights, 'self_attn.o_proj.weight');
  const outputBias = weights('self_attn.o_proj.bias');
  const window = config.sliding_window ?? Infinity;
  return inputs.map((_, i) => {
    const mixed = Array.from({ length: H }, (__, h) => {
      const m = Math.floor(h / (H / M));
      const seen = inputs.flatMap((___, j) => (j <= i && i - j < window ? [j] : []));
      const scores = seen.map((j) => Math.exp(dot(q[i][h], k[j][m]) * scale));
      const total = scores.reduce((a, b) => a + b, 0);
      return Array.from({ length: D }, (___, d) =>
        seen.reduce((sum, j, s) => sum + (scores[s] / total) * v[j][m][d], 0),
      );
    });
    return product(output, mixed.flat()).map((y, f) => y + (outputBias?.[f] ?? 0));
  });
}

/** Radians per position of every pair of features. */
function frequencies({ rope_theta: base, rope_scaling: scaling }: ReferenceConfig, D: number): number[] {
  return Array.from({ length: D / 2 }, (_, i) => {
    const plain = base ** ((-2 * i) / D);
    if (scaling === undefined) return plain;
    // How often a pair turns within the length of pre-training decides: often, it stays; less than once, it is slowed.
    const turns = (scaling.original_max_position_embeddings * plain) / (2 * Math.PI);
    if (turns > scaling.high_freq_factor) return plain;
    if (turns < scaling.low_freq_factor) return plain / scaling.factor;
    const share = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
    return plain * (share + (1 - share) / scaling.factor);
  });
}

/** Feature i and feature i + D/2 are a pair. */
function turned(x: readonly number[], position: number, angles: readonly number[]): number[] {
  const half = angles.length;
  const result = [...x];
  angles.forEach((frequency, i) => {
    const [cos, sin] = [Math.cos(position * frequency), Math.sin(position * frequency)];
    result[i] = x[i] * cos - x[i + half] * sin;
    result[i + half] = x[i + half] * cos + x[i] * sin;
  });
  return result;
}

/** x / √(mean x² + ε) · gain, row by row. */
function normalized(rows: readonly number[][], gain: ArrayLike<number>, epsilon: number): number[][] {
  return rows.map((x) => {
    const root = Math.sqrt(dot(x, x) / x.length + epsilon);
    return x.map((value, f) => (value / root) * gain[f]);
  });
}

/** W x with W [outputs, inputs]. */
function product(matrix: ArrayLike<number>, x: readonly number[]): number[] {
  return Array.from({ length: matrix.length / x.length }, (_, o) =>
    x.reduce((sum, value, i) => sum + matrix[o * x.length + i] * value, 0),
  );
}

function rowOf(table: ArrayLike<number>, row: number, width: number): number[] {
  return Array.from({ length: width }, (_, f) => table[row * width + f]);
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

function tensor(weights: ReferenceWeights, name: string): ArrayLike<number> {
  const found = weights(name);
  if (found === undefined) throw new Error(`the checkpoint has no "${name}"`);
  return found;
}
