/** How probable a given text is: log-likelihoods through the step form. */
import { chain } from '../attention/tree.ts';
import { LinnetError } from '../errors.ts';
import { eventLoopTurn } from '../decoding/event-loop.ts';
import type { SequenceState } from '../decoding/state/sequence-state.ts';
import { promptChunk, type StepEngine } from '../decoding/step-engine.ts';

/** Logits of a run, in numbers: 128 MiB. */
const mostLogits = 1 << 25;

/** How probable a continuation is. */
export interface ContinuationScore {
  /** log p of the continuation given what comes before, in nats: the sum over its tokens, at most 0. */
  readonly logLikelihood: number;
  /** Tokens of the continuation. */
  readonly tokens: number;
  /** Whether greedy decoding gives exactly this continuation. */
  readonly isGreedy: boolean;
}

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
  let peak = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > peak) peak = logit;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - peak);
  return Math.log(total) + peak - logits[token];
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

/**
 * Scores a continuation of what a state has read.
 *
 * @param state is not changed
 * @param last logits [V] of the last token that the state has read
 * @throws LinnetError `INPUT` for an empty continuation or a token outside the vocabulary, and as `StepEngine.step`
 * @example
 * ```ts
 * const { logLikelihood } = await scoreContinuation(engine, state, last, tokens);
 * ```
 */
export async function scoreContinuation(
  engine: StepEngine,
  state: SequenceState,
  last: Float32Array,
  tokens: Int32Array,
): Promise<ContinuationScore> {
  if (tokens.length === 0) throw new LinnetError('INPUT', 'a continuation to score needs at least one token');
  let logLikelihood = 0;
  let isGreedy = true;
  const score = (logits: Float32Array, token: number): void => {
    if (!(token >= 0 && token < logits.length)) {
      throw new LinnetError('INPUT', `token ${token} is outside the vocabulary of ${logits.length}`);
    }
    logLikelihood -= negativeLogLikelihood(logits, token);
    isGreedy &&= logits.indexOf(logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)) === token;
  };
  score(last, tokens[0]);
  const read = tokens.subarray(0, -1);
  if (read.length > 0) {
    await readScored(engine, state.fork(), read, (index, logits) => score(logits, tokens[index + 1]));
  }
  return { logLikelihood, tokens: tokens.length, isGreedy };
}
