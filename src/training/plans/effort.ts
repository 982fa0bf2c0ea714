/** Length of a training: refused where no machine can do it, else announced. Its memory is in `step-cost.ts`. */
import { LinnetError } from '../../errors.ts';
import { formatCount, formatDuration } from '../../report/quantities.ts';

/** The losses of all steps are kept, and in every snapshot: 80 MB at the limit. At ten a second they take two weeks. */
const mostSteps = 10_000_000;

/** From here on a training is announced with the time it will take. */
const longSeconds = 3 * 24 * 3600;

/** @throws LinnetError `CONFIG` for a training of more than ten million steps */
export function requireFewSteps(steps: number): void {
  if (steps <= mostSteps) return;
  throw new LinnetError(
    'CONFIG',
    `the training would take ${formatCount(steps)} optimizer steps, and at most ${formatCount(mostSteps)} are made; ` +
      'give fewer `steps` or `epochs`, or a larger `batch`',
  );
}

/** A warning once the pace is known; undefined for a training of some days. */
export function paceWarning(secondsPerStep: number, stepsLeft: number): string | undefined {
  const seconds = secondsPerStep * stepsLeft;
  if (!(seconds > longSeconds)) return undefined;
  return `at ${formatDuration(secondsPerStep)} a step, the ${formatCount(stepsLeft)} steps that are left take about ${formatCount(Math.round(seconds / 86400))} days`;
}
