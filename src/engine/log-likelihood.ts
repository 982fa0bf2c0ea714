/** How probable a given text is: log-likelihoods through the step form. */
import { logSumExp } from '../decoding/log-sum-exp.ts';
import type { SequenceState } from '../decoding/state/sequence-state.ts';
import type { StepEngine } from '../decoding/step-engine.ts';

/** Logits of a run, in numbers: 128 MiB. */
const mostLogits = 1 << 25;

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

/**
 * Reads tokens into a state and gives out the logits of each.
 * @param visit `index` of the token, and its logits [V], which are valid during the call only
 */
export async function readScored(
  engine: StepEngine,
  state: SequenceState,
  tokens: Int32Array,
  visit: (index: number, logits: Float32Array) => void,
): Promise<void> {
  const chunk = Math.max(1, Math.min(engine.promptChunk, Math.floor(mostLogits / engine.model.sizes.vocabulary)));
  for await (const { output, start } of engine.read(state, tokens, { chunk, weights: 'step' }, true)) {
    output.logits.forEach((logits, node) => visit(start + node, logits));
  }
}
