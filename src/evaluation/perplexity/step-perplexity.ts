/** Perplexity through the step form: of models that exist as a decoding engine only, such as exported ones. */
import { negativeLogLikelihood, readScored } from '../../decoding/log-likelihood.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { LinnetError } from '../../errors.ts';
import type { EvaluateOptions, PerplexityResult } from './perplexity.ts';
import { type EvaluationData, type ScoredWindow, scoredTokens } from './scored-windows.ts';

/**
 * Reads a window from its start and gives out the logits of every position that is followed by a token.
 *
 * @param visit `position`, and its logits [V], which are valid during the call only
 */
export async function readWindow(
  engine: StepEngine,
  { source, tokens }: ScoredWindow,
  visit: (position: number, logits: Float32Array) => void,
): Promise<void> {
  const state = engine.newState(source && (await engine.encode(source)));
  await readScored(engine, state, tokens.subarray(0, tokens.length - 1), visit);
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

/** The step checks what it reads; the last token of a window is only predicted. */
function checkedToken({ tokens }: ScoredWindow, index: number, logits: Float32Array): number {
  const token = tokens[index];
  if (token >= 0 && token < logits.length) return token;
  throw new LinnetError(
    'MISMATCH',
    `token ${token} is outside the model's vocabulary of ${logits.length}; the tokenizer is of another model`,
  );
}
