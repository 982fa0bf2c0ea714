/**
 * The row arithmetic of the references: how one query weighs a list of keys, and how a vector is normalized. Plain float64,
 * for checking. Their gradients, derived by hand, are in `test/attention/linear-gradients.ts`.
 */

/** ⟨a, b⟩. */
export function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** y ← y + scale·x. */
export function addScaled(y: Float64Array, scale: number, x: Float64Array): void {
  for (let i = 0; i < y.length; i++) y[i] += scale * x[i];
}

/** Added to the norm by the normalizing variants (reference code). */
const softening = 1e-5;

/** y = x / (‖x‖ + ε). */
function withLength(x: Float64Array, epsilon: number): Float64Array {
  const size = Math.sqrt(dot(x, x)) + epsilon;
  return size === 0 ? new Float64Array(x.length) : x.map((value) => value / size);
}

/** x/‖x‖. The zero vector stays zero. */
export function unit(x: Float64Array): Float64Array {
  return withLength(x, 0);
}

/** x/(1e-5 + ‖x‖). */
export function softUnit(x: Float64Array): Float64Array {
  return withLength(x, softening);
}

/** How a query weighs keys: the coefficients of their values. */
export type RowKernel = (q: Float64Array, keys: readonly Float64Array[]) => Float64Array;

/** weight = f(⟨q̂, k̂⟩). */
function ofCosine(f: (cosine: number) => number): RowKernel {
  return (q, keys) => {
    const unitQ = unit(q);
    return Float64Array.from(keys, (key) => f(dot(unitQ, unit(key))));
  };
}

/** weights = softmax over the list of scale·⟨q, k_j⟩. */
export function softmaxKernel(scale: number): RowKernel {
  return (q, keys) => softmaxOf(Float64Array.from(keys, (key) => scale * dot(q, key)));
}

/** e^x / Σ e^x. */
export function softmaxOf(scores: Float64Array): Float64Array {
  let largest = Number.NEGATIVE_INFINITY;
  for (const score of scores) largest = Math.max(largest, score);
  let total = 0;
  const powers = scores.map((score) => Math.exp(score - largest));
  for (const power of powers) total += power;
  return powers.map((power) => power / total);
}

/** The collision probability of a cosine: see `graph/ops/collision.ts`. */
export function collisionProbability(cosine: number, bits: number): number {
  return (1 - Math.acos(Math.min(1, Math.max(-1, cosine))) / Math.PI) ** bits;
}

export function collisionKernel(bits: number): RowKernel {
  return ofCosine((cosine) => collisionProbability(cosine, bits));
}

/** max(⟨q̂, k̂⟩, 0)². */
export const reluSquaredKernel: RowKernel = ofCosine((cosine) => Math.max(cosine, 0) ** 2);

/** max(scale·⟨q, k⟩, 0)². */
export function reluSquaredScoreKernel(scale: number): RowKernel {
  return (q, keys) => Float64Array.from(keys, (key) => Math.max(scale * dot(q, key), 0) ** 2);
}

/** p = w/(floor + Σ w), w being the weights of another kernel. */
export function normalizedKernel(kernel: RowKernel, floor: number): RowKernel {
  return (q, keys) => {
    const own = kernel(q, keys);
    const size = own.reduce((sum, weight) => sum + weight, floor);
    return own.map((weight) => weight / size);
  };
}

/** ⟨q̂, k̂⟩ itself: the kernel that a sum over k̂ᵀv can represent. */
export const cosineKernel: RowKernel = ofCosine((cosine) => cosine);

/** Σ weights_j·rows_j of the given width. */
export function weightedSum(weights: Float64Array, rows: readonly Float64Array[], width: number): Float64Array {
  const sum = new Float64Array(width);
  for (const [j, row] of rows.entries()) addScaled(sum, weights[j], row);
  return sum;
}
