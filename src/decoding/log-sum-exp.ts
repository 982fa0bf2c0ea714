/** The normalizer of logits: log p of a token is its logit less this. */

/** Logits of a run, or of a block of its positions, in numbers: 128 MiB, of which a loss and its gradient hold some. */
export const mostLogits = 1 << 25;

/** log Σ exp of logits, in float64. */
export function logSumExp(logits: Float32Array): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > largest) largest = logit;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - largest);
  return largest + Math.log(total);
}

/**
 * −log p of a token in nats, in float64.
 * @example
 * ```ts
 * const nats = negativeLogLikelihood(logits, token);
 * ```
 */
export function negativeLogLikelihood(logits: Float32Array, token: number): number {
  return logSumExp(logits) - logits[token];
}
