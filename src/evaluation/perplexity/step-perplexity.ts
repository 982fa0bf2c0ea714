/** Perplexity through the step form: of models that exist as a decoding engine only, such as exported ones. */
import { negativeLogLikelihood, readScored } from '../../engine/log-likelihood.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { LinnetError } from '../../errors.ts';
import type { EvaluateOptions, PerplexityResult } from './perplexity.ts';
import { type EvaluationData, type ScoredWindow, scoredTokens } from './scored-windows.ts';

/**
 * Reads a window from its start and gives out the logits of every position that is followed by a token.
 *
 * @param visit `position`, and its logits [V], which are valid during the call only
 * @returns the state after all tokens but the last
 */
export async function readWindow(
  engine: StepEngine,
  { source, tokens }: ScoredWindow,
  visit: (position: number, logits: Float32Array) => void,
): Promise<SequenceState> {
  const state = engine.newState(source && (await engine.encode(source)));
  await readScored(engine, state, tokens.subarray(0, tokens.length - 1), visit);
  return state;
}

/**
 * Perplexity of an engine. What `perplexity` says of the same weights, up to rounding.
 * @throws LinnetError `INPUT` if there is nothing to score or a token is outside the vocabulary, `ABORTED` when the
 *   signal fires between two windows
 * @example
 * ```ts
 * declare const data: EvaluationData;
 * const { perplexity: value } = await stepPerplexity(engine, data);
 * ```
 */
export async function stepPerplexity(
  engine: StepEngine,
  { windows, documents }: EvaluationData,
  { onProgress, signal }: EvaluateOptions = {},
): Promise<PerplexityResult> {
  const count = scoredTokens(windows);
  if (count === 0) throw new LinnetError('INPUT', 'there is no token to predict in the evaluation text');
  let total = 0;
  let scored = 0;
  for (const [done, window] of windows.entries()) {
    if (signal?.aborted === true) {
      throw new LinnetError('ABORTED', `evaluation stopped after ${done} of ${windows.length} windows`);
    }
    await readWindow(engine, window, (position, logits) => {
      if (position + 1 >= window.scoredFrom)
        total += negativeLogLikelihood(logits, checkedToken(window, position + 1, logits));
    });
    scored += scoredTokens([window]);
    onProgress?.({ windows: done + 1, totalWindows: windows.length, nll: total / scored });
  }
  const nll = total / count;
  return { perplexity: Math.exp(nll), nll, tokens: count, documents };
}

/**
 * −log p in nats of every token of a text but the first, read in chunks by the step form: memory does not grow with the
 * text, apart from what the state itself keeps. Index i is that of token i + 1; `stateBytes` are held in the end; what `tokenLosses` says, up to rounding.
 * @throws LinnetError `MISMATCH` for a token outside the vocabulary, `ABORTED` between two chunks, and what a step throws
 */
export async function stepLosses(
  engine: StepEngine,
  tokens: Int32Array,
  { signal, onProgress }: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<{ losses: Float32Array; stateBytes: number }> {
  const losses = new Float32Array(Math.max(0, tokens.length - 1));
  const window = { tokens, scoredFrom: 1 };
  const state = await readWindow(engine, window, (position, logits) => {
    if (signal?.aborted === true) {
      throw new LinnetError('ABORTED', `stopped after ${position} of ${losses.length} tokens`);
    }
    losses[position] = negativeLogLikelihood(logits, checkedToken(window, position + 1, logits));
    onProgress?.(position + 1, losses.length);
  });
  return { losses, stateBytes: state.bytes };
}

/** The step checks what it reads; the last token of a window is only predicted. */
function checkedToken({ tokens }: ScoredWindow, index: number, logits: Float32Array): number {
  const token = tokens[index];
  if (token >= 0 && token < logits.length) return token;
  throw new LinnetError(
    'MISMATCH',
    `token ${token} is outside the model's vocabulary of ${logits.length}; the tokenizer is of another model`,
  );
}
