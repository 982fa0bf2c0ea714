/** Two models' recall, as answers: whether each continues a repeated passage as the first time. */
import type { StepEngine } from '../../decoding/step-engine.ts';
import { requireRunning } from '../../errors.ts';
import { readWindow } from '../perplexity/losses.ts';
import type { RecallProbe } from '../recall/copy-recall.ts';
import { argmax } from '../../graph/largest.ts';

/** Tokens of a probe that the model chose correctly, out of those scored. */
export interface RecallAnswer {
  readonly distance: number;
  readonly right: number;
  readonly scored: number;
}

/** Answers to the probes, in order. @throws LinnetError `ABORTED` when the signal fires between two probes */
export async function recalledAnswers(
  engine: StepEngine,
  probes: readonly RecallProbe[],
  signal?: AbortSignal,
): Promise<RecallAnswer[]> {
  const answers: RecallAnswer[] = [];
  for (const { distance, tokens, scoredFrom } of probes) {
    requireRunning(signal, 'while recall was measured');
    let right = 0;
    await readWindow(engine, { tokens, scoredFrom }, (position, logits) => {
      if (position + 1 >= scoredFrom && argmax(logits) === tokens[position + 1]) right++;
    });
    answers.push({ distance, right, scored: tokens.length - scoredFrom });
  }
  return answers;
}

/** Both models' share of correct tokens by distance. */
export function recallByDistance(original: readonly RecallAnswer[], converted: readonly RecallAnswer[]) {
  const share = (answers: readonly RecallAnswer[], distance: number): number => {
    const at = answers.filter((answer) => answer.distance === distance);
    return at.reduce((sum, { right }) => sum + right, 0) / at.reduce((sum, { scored }) => sum + scored, 0);
  };
  return [...new Set(original.map(({ distance }) => distance))].map((distance) => ({
    distance,
    original: share(original, distance),
    converted: share(converted, distance),
  }));
}

/** Counts whole answers that only one model has right, and those that both or neither have. */
export function comparedAnswers(original: readonly RecallAnswer[], converted: readonly RecallAnswer[]) {
  const whole = ({ right, scored }: RecallAnswer): number => (right === scored ? 1 : 0);
  const gains = converted.map((answer, i) => whole(answer) - whole(original[i]));
  const count = (gain: number): number => gains.filter((value) => value === gain).length;
  return { wins: count(1), ties: count(0), losses: count(-1) };
}
