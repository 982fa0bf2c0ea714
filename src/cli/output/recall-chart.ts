/** The picture of a study of recall: accuracy against the bytes that a model remembers by. */
import { lineChart } from '../../report/chart.ts';
import type { Chart } from '../../report/chart-renderer.ts';
import { formatBytes, formatFixed } from '../../report/quantities.ts';
import type { RecallTrial } from '../../studies/recall/study.ts';

/** One line a method over its tests and seeds, by size of the state; seeds are averaged, their range is drawn. */
export function recallChart(trials: readonly RecallTrial[]): Promise<Chart> {
  const methods = [...new Set(trials.map(({ method }) => method))];
  return lineChart({
    title: 'Associative recall against memory',
    description: 'Share of right answers on the longest rows, against the bytes of the state of all layers.',
    x: { label: 'state', scale: 'log2', format: formatBytes },
    y: { label: 'accuracy', min: 0, max: 1, format: (value) => formatFixed(value, 1) },
    lines: methods.map((name) => {
      const longest = trials
        .filter(({ method }) => method === name)
        .flatMap(({ tests }) =>
          tests
            .slice()
            .sort((a, b) => b.length - a.length)
            .slice(0, 1),
        );
      const accuracies = longest.map(({ accuracy }) => accuracy);
      const y = accuracies.reduce((sum, value) => sum + value, 0) / accuracies.length;
      return {
        name,
        points: [{ x: longest[0].stateBytes, y, low: Math.min(...accuracies), high: Math.max(...accuracies) }],
      };
    }),
  });
}
