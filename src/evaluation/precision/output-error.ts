/** How far the outputs of one engine are from another's on the same text: the cost of fewer bits. */
import { negativeLogLikelihood } from '../../decoding/log-sum-exp.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { LinnetError, requireRunning } from '../../errors.ts';
import type { EvaluateOptions } from '../perplexity/perplexity.ts';
import { type EvaluationData, scoredTokens } from '../perplexity/scored-windows.ts';
import { readWindow } from '../perplexity/losses.ts';
import { argmax } from '../../graph/largest.ts';

/** How far the predictions of two models are apart. */
export interface OutputDifference {
  /** Positions compared. */
  readonly tokens: number;
  /** Largest and mean absolute difference of logits, over all positions and the vocabulary. */
  readonly maxLogit: number;
  readonly meanLogit: number;
  /** Share of positions whose most probable token is the same. */
  readonly sameChoice: number;
  /** Perplexities of the two. */
  readonly perplexity: { readonly reference: number; readonly other: number };
}

/**
 * Compares two engines over windows of text; both read each window from its start.
 * @throws LinnetError `INPUT` if there is nothing to compare, `ABORTED` when the signal fires between two windows
 * @example
 * ```ts
 * declare const data: EvaluationData;
 * const { maxLogit } = await compareOutputs(reference, other, data);
 * ```
 */
export async function compareOutputs(
  reference: StepEngine,
  other: StepEngine,
  { windows }: EvaluationData,
  { onProgress, signal }: EvaluateOptions = {},
): Promise<OutputDifference> {
  if (scoredTokens(windows) === 0) throw new LinnetError('INPUT', 'there is no text to compare the outputs on');
  const sum = { positions: 0, numbers: 0, difference: 0, same: 0, reference: 0, other: 0, scored: 0 };
  let maxLogit = 0;
  for (const [done, window] of windows.entries()) {
    requireRunning(signal, `after ${done} of ${windows.length} windows`);
    const expected: Float32Array[] = [];
    await readWindow(reference, window, (_, logits) => expected.push(logits.slice()));
    await readWindow(other, window, (position, logits) => {
      const exact = expected[position];
      let difference = 0;
      for (let i = 0; i < logits.length; i++) {
        const off = Math.abs(logits[i] - exact[i]);
        difference += off;
        maxLogit = Math.max(maxLogit, off); // keeps NaN
      }
      sum.positions++;
      sum.numbers += logits.length;
      sum.difference += difference;
      if (argmax(logits) === argmax(exact)) sum.same++;
      if (position + 1 < window.scoredFrom) return;
      const token = window.tokens[position + 1];
      sum.scored++;
      sum.reference += negativeLogLikelihood(exact, token);
      sum.other += negativeLogLikelihood(logits, token);
    });
    onProgress?.({ windows: done + 1, totalWindows: windows.length, nll: sum.other / Math.max(1, sum.scored) });
  }
  return {
    tokens: sum.positions,
    maxLogit,
    meanLogit: sum.difference / sum.numbers,
    sameChoice: sum.same / sum.positions,
    perplexity: { reference: Math.exp(sum.reference / sum.scored), other: Math.exp(sum.other / sum.scored) },
  };
}
