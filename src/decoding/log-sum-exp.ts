/** The logits' normalizer: log p of a token is its logit minus this. */

/** Most logits per run, or per block of its positions, in numbers: 128 MiB; a loss and its gradient hold several such. */
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
