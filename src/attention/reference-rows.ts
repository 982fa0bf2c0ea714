/**
 * The row arithmetic of the references: how one query weighs a list of keys, and how a vector is normalized. Each piece
 * comes with its gradient, derived by hand, so that the two can be read next to each other. Plain float64, for checking.
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

/** A map from a vector to a vector of its own direction, with its gradient. */
export interface RowNormalizer {
  apply(x: Float64Array): Float64Array;
  /** The gradient with respect to x, given that with respect to the result. */
  gradient(x: Float64Array, dResult: Float64Array): Float64Array;
}

/** y = x / (‖x‖ + ε). With r = ‖x‖ and s = r + ε: dx = dy/s − x·⟨x, dy⟩/(r·s²). */
function normalizer(epsilon: number): RowNormalizer {
  return {
    apply(x) {
      const size = Math.sqrt(dot(x, x)) + epsilon;
      return size === 0 ? new Float64Array(x.length) : x.map((value) => value / size);
    },
    gradient(x, dResult) {
      const norm = Math.sqrt(dot(x, x));
      const size = norm + epsilon;
      if (size === 0) return new Float64Array(x.length);
      const along = norm === 0 ? 0 : dot(x, dResult) / (norm * size * size);
      return x.map((value, i) => dResult[i] / size - value * along);
    },
  };
}

/** x/‖x‖. The zero vector stays zero, and passes no gradient, since it has no direction. */
export const unit = normalizer(0);

/** x/(1e-5 + ‖x‖). */
export const softUnit = normalizer(softening);

/** How a query weighs keys: the coefficients of their values. */
export interface RowKernel {
  weights(q: Float64Array, keys: readonly Float64Array[]): Float64Array;
  /** Adds to `dq` and to every `dKeys[j]`, given the gradient with respect to the weights. */
  addGradient(
    q: Float64Array,
    keys: readonly Float64Array[],
    dWeights: Float64Array,
    dq: Float64Array,
    dKeys: readonly Float64Array[],
  ): void;
}

/** weight = f(⟨q̂, k̂⟩); `slope` is f'. */
function ofCosine(f: (cosine: number) => number, slope: (cosine: number) => number): RowKernel {
  return {
    weights(q, keys) {
      const unitQ = unit.apply(q);
      return Float64Array.from(keys, (key) => f(dot(unitQ, unit.apply(key))));
    },
    addGradient(q, keys, dWeights, dq, dKeys) {
      const unitQ = unit.apply(q);
      const dUnitQ = new Float64Array(q.length);
      for (const [j, key] of keys.entries()) {
        const unitKey = unit.apply(key);
        const dCosine = dWeights[j] * slope(dot(unitQ, unitKey));
        addScaled(dUnitQ, dCosine, unitKey);
        const dUnitKey = unitQ.map((value) => dCosine * value);
        addScaled(dKeys[j], 1, unit.gradient(key, dUnitKey));
      }
      addScaled(dq, 1, unit.gradient(q, dUnitQ));
    },
  };
}

/** weights = softmax over the list of scale·⟨q, k_j⟩. With p the weights: ds_j = p_j·(dp_j − Σ_i p_i·dp_i). */
export function softmaxKernel(scale: number): RowKernel {
  const weights = (q: Float64Array, keys: readonly Float64Array[]): Float64Array =>
    softmaxOf(Float64Array.from(keys, (key) => scale * dot(q, key)));
  return {
    weights,
    addGradient(q, keys, dWeights, dq, dKeys) {
      const own = weights(q, keys);
      const mean = dot(own, dWeights);
      for (const [j, key] of keys.entries()) {
        const dScore = scale * own[j] * (dWeights[j] - mean);
        addScaled(dq, dScore, key);
        addScaled(dKeys[j], dScore, q);
      }
    },
  };
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

/** The collision probability, with YOSO's surrogate for its derivative: see `graph/ops/collision.ts`. */
export function collisionKernel(bits: number): RowKernel {
  const probability = (cosine: number): number => (1 - Math.acos(Math.min(1, Math.max(-1, cosine))) / Math.PI) ** bits;
  return ofCosine(probability, (cosine) => (bits / 2) * probability(cosine));
}

/** max(⟨q̂, k̂⟩, 0)². */
export const reluSquaredKernel: RowKernel = ofCosine(
  (cosine) => Math.max(cosine, 0) ** 2,
  (cosine) => 2 * Math.max(cosine, 0),
);

/** max(scale·⟨q, k⟩, 0)². */
export function reluSquaredScoreKernel(scale: number): RowKernel {
  const positive = (q: Float64Array, key: Float64Array): number => Math.max(scale * dot(q, key), 0);
  return {
    weights: (q, keys) => Float64Array.from(keys, (key) => positive(q, key) ** 2),
    addGradient(q, keys, dWeights, dq, dKeys) {
      for (const [j, key] of keys.entries()) {
        const dProduct = 2 * scale * positive(q, key) * dWeights[j];
        addScaled(dq, dProduct, key);
        addScaled(dKeys[j], dProduct, q);
      }
    },
  };
}

/** p = w/(floor + Σ w), w being the weights of another kernel. With Z = floor + Σ w: dw_j = (dp_j − Σ_i p_i·dp_i)/Z. */
export function normalizedKernel(kernel: RowKernel, floor: number): RowKernel {
  const total = (weights: Float64Array): number => weights.reduce((sum, weight) => sum + weight, floor);
  return {
    weights(q, keys) {
      const own = kernel.weights(q, keys);
      const size = total(own);
      return own.map((weight) => weight / size);
    },
    addGradient(q, keys, dWeights, dq, dKeys) {
      const own = kernel.weights(q, keys);
      const size = total(own);
      const mean = dot(own, dWeights) / size;
      kernel.addGradient(
        q,
        keys,
        dWeights.map((dWeight) => (dWeight - mean) / size),
        dq,
        dKeys,
      );
    },
  };
}

/** ⟨q̂, k̂⟩ itself: the kernel that a sum over k̂ᵀv can represent. */
export const cosineKernel: RowKernel = ofCosine(
  (cosine) => cosine,
  () => 1,
);

/** Σ weights_j·rows_j of the given width. */
export function weightedSum(weights: Float64Array, rows: readonly Float64Array[], width: number): Float64Array {
  const sum = new Float64Array(width);
  for (const [j, row] of rows.entries()) addScaled(sum, weights[j], row);
  return sum;
}
