/** How probable a given text is: log-likelihoods through the step form. */
import { logSumExp } from '../decoding/log-sum-exp.ts';
import { chain } from '../attention/tree.ts';
import { eventLoopTurn } from '../decoding/event-loop.ts';
import type { SequenceState } from '../decoding/state/sequence-state.ts';
import { promptChunk, type StepEngine } from '../decoding/step-engine.ts';

/** Logits of a run, in numbers: 128 MiB. */
const mostLogits = 1 << 25;

/** Tokens a step of a model reads at once, where the logits of all are wanted. */
function scoredChunk(vocabulary: number): number {
  return Math.max(1, Math.min(promptChunk, Math.floor(mostLogits / vocabulary)));
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
  const chunk = scoredChunk(engine.model.sizes.vocabulary);
  for (let start = 0; start < tokens.length; start += chunk) {
    const part = tokens.subarray(start, Math.min(start + chunk, tokens.length));
    const nodes = Array.from(part, (_, node) => node);
    const request = { state, tree: chain(part.length), tokens: part, wanted: nodes };
    const [output] = await engine.step([request]);
    output.logits.forEach((logits, node) => visit(start + node, logits));
    await engine.commit(request, output, nodes);
    await eventLoopTurn();
  }
}
