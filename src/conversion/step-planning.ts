/** How many optimizer steps fit into a time, from a short trial. */

/** Optimizer steps of a trial; the first is slower than the others. */
export const timedSteps = 4;
/** Fewer learn nothing. */
export const fewestSteps = 4;

/**
 * Optimizer steps that fit into `seconds`, less the trial made before and the preparation (graphs, compilation) that
 * the trial had and the training will have again; 0 for fewer than `fewestSteps`.
 * @param trial seconds of the whole trial
 * @param times seconds of its steps, at least two; the first does not count
 */
export function stepsWithin(seconds: number, trial: number, times: readonly number[]): number {
  const preparation = Math.max(0, trial - times.reduce((a, b) => a + b, 0));
  const sorted = times.slice(1).sort((a, b) => a - b);
  const steps = Math.floor((seconds - trial - preparation) / sorted[Math.floor(sorted.length / 2)]);
  return steps < fewestSteps ? 0 : steps;
}
