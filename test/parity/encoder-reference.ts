/**
 * Encoders as loops in float64, written from what was published of them: BERT (arXiv 1810.04805, on the blocks of arXiv 1706.03762),
 * RoBERTa (arXiv 1907.11692), whose checkpoints count positions from the row after that of padding, and DistilBERT (arXiv 1910.01108)
 * without segments. They read the tensors of a checkpoint by its names, and share no code with what they check.
 */

/** The names of a checkpoint's modules. */
export interface EncoderReference {
  readonly root: string;
  readonly layers: readonly string[];
  /** In a layer: query, key, value, output of attention, its norm, the two layers of the feed-forward, its norm. */
  readonly names: readonly [string, string, string, string, string, string, string, string];
  readonly heads: number;
  readonly epsilon: number;
  /** Row of the first position. */
  readonly firstPosition: number;
}

/** A tensor of the checkpoint by its name; undefined where there is none. */
export type ReferenceWeights = (name: string) => ArrayLike<number> | undefined;

type Rows = readonly (readonly number[])[];

/** Hidden states [n][width] of a text without padding. @param segments of each token; default 0 */
export function referenceHidden(
  reference: EncoderReference,
  weights: ReferenceWeights,
  tokens: readonly number[],
  segments: readonly number[] = tokens.map(() => 0),
): number[][] {
  const { root, layers, names, epsilon, firstPosition } = reference;
  const [query, key, value, output, attentionNorm, inner, outer, outerNorm] = names;
  const width = tensor(weights, `${root}.embeddings.LayerNorm.weight`).length;
  const table = (name: string): ArrayLike<number> | undefined => weights(`${root}.embeddings.${name}.weight`);
  const [words, positions, types] = ['word', 'position', 'token_type'].map((name) => table(`${name}_embeddings`));
  const at = (rows: ArrayLike<number> | undefined, row: number, f: number): number => rows?.[row * width + f] ?? 0;
  let x: number[][] = tokens.map((token, i) =>
    Array.from(
      { length: width },
      (_, f) => at(words, token, f) + at(positions, firstPosition + i, f) + at(types, segments[i], f),
    ),
  );
  x = normalized(weights, `${root}.embeddings.LayerNorm`, x, epsilon);
  for (const layer of layers) {
    const dense = (name: string, rows: Rows): number[][] => rows.map((row) => affine(weights, `${layer}.${name}`, row));
    const [q, k, v] = [query, key, value].map((name) => dense(name, x));
    const attended = dense(output, attention(q, k, v, reference.heads));
    x = normalized(weights, `${layer}.${attentionNorm}`, sums(x, attended), epsilon);
    const fed = dense(
      outer,
      dense(inner, x).map((row) => row.map(gelu)),
    );
    x = normalized(weights, `${layer}.${outerNorm}`, sums(x, fed), epsilon);
  }
  return x;
}

function attention(q: Rows, k: Rows, v: Rows, heads: number): number[][] {
  const D = q[0].length / heads;
  return q.map((_, i) =>
    Array.from({ length: heads }, (__, h) => {
      const own = (row: readonly number[]): readonly number[] => row.slice(h * D, (h + 1) * D);
      const scores = k.map((row) => Math.exp(dot(own(q[i]), own(row)) / Math.sqrt(D)));
      const total = scores.reduce((a, b) => a + b, 0);
      return Array.from({ length: D }, (___, d) =>
        v.reduce((sum, row, j) => sum + (scores[j] / total) * own(row)[d], 0),
      );
    }).flat(),
  );
}

/** W x + b with W [outputs, inputs]. */
export function affine(weights: ReferenceWeights, name: string, x: readonly number[]): number[] {
  const [matrix, bias] = [tensor(weights, `${name}.weight`), tensor(weights, `${name}.bias`)];
  return Array.from(bias, (b, o) => x.reduce((sum, value, i) => sum + matrix[o * x.length + i] * value, b));
}

/** (x − mean) / √(variance + ε) · gain + bias, row by row. */
export function normalized(weights: ReferenceWeights, name: string, rows: Rows, epsilon: number): number[][] {
  const [gain, bias] = [tensor(weights, `${name}.weight`), tensor(weights, `${name}.bias`)];
  return rows.map((x) => {
    const mean = x.reduce((a, b) => a + b, 0) / x.length;
    const root = Math.sqrt(x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length + epsilon);
    return x.map((value, f) => ((value - mean) / root) * gain[f] + bias[f]);
  });
}

/** x·Φ(x), with erf(z) = 2/√π · exp(−z²) · Σ 2ⁿ z²ⁿ⁺¹ / (1·3·…·(2n+1)), all of whose terms have one sign. */
export function gelu(x: number): number {
  const z = x / Math.SQRT2;
  let [sum, term] = [0, z];
  for (let n = 0; n < 400; n++) {
    sum += term;
    term *= (2 * z * z) / (2 * n + 3);
  }
  const erf = Math.abs(z) > 6 ? Math.sign(z) : (2 / Math.sqrt(Math.PI)) * Math.exp(-z * z) * sum;
  return (x * (1 + erf)) / 2;
}

function sums(a: Rows, b: Rows): number[][] {
  return a.map((row, i) => row.map((value, f) => value + b[i][f]));
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

function tensor(weights: ReferenceWeights, name: string): ArrayLike<number> {
  const found = weights(name);
  if (found === undefined) throw new Error(`the checkpoint has no "${name}"`);
  return found;
}
