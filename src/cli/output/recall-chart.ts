/** The picture of a study of recall: accuracy against the bytes that a model remembers by. */
import { lineChart } from '../../report/charts/chart.ts';
import type { Chart } from '../../report/charts/chart-renderer.ts';
import { fixed, formatBytes, formatCount } from '../../report/quantities.ts';
import type { RecallTrial } from '../../studies/recall/study.ts';

/**
 * One line a method over the sizes of the plan, by bytes of the state on the longest rows; seeds are averaged, their range is
 * drawn.
 */
export function recallChart(trials: readonly RecallTrial[]): Promise<Chart> {
  const methods = [...new Set(trials.map(({ method }) => method))];
  const longest = (tests: RecallTrial['tests']) =>
    tests.toSorted((a, b) => b.length - a.length || b.pairs - a.pairs)[0];
  const { length, pairs } = longest(trials[0].tests);
  return lineChart({
    title: `Associative recall, ${pairs} pairs in ${formatCount(length)} tokens, against memory`,
    description: 'Share of right answers on the longest rows, against the bytes of the state of all layers.',
    x: { label: 'state', scale: 'log2', format: formatBytes },
    y: { label: 'accuracy', min: 0, max: 1, format: fixed(1) },
    lines: methods.map((name) => {
      const own = trials.filter(({ method }) => method === name);
      const sizes = [...new Set(own.map(({ size }) => size))];
      const points = sizes.map((wanted) => {
        const tests = own.filter(({ size }) => size === wanted).map((trial) => longest(trial.tests));
        const accuracies = tests.map(({ accuracy }) => accuracy);
        return {
          x: tests[0].stateBytes,
          y: accuracies.reduce((sum, value) => sum + value, 0) / accuracies.length,
          low: Math.min(...accuracies),
          high: Math.max(...accuracies),
        };
      });
      return { name, points: points.toSorted((a, b) => a.x - b.x) };
    }),
  });
}
