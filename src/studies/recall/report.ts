/** The report of a study of recall: accuracy against the bytes that a model remembers by. */
import { average } from '../../evaluation/tasks/metrics/statistics.ts';
import type { Chart } from '../../report/charts/chart-renderer.ts';
import { lineChart } from '../../report/charts/chart.ts';
import { fixed, formatBytes, formatCount } from '../../report/quantities.ts';
import { makeTable } from '../../report/table.ts';
import { groupedBy } from '../frame/over-seeds.ts';
import type { StudyReport } from '../frame/study.ts';
import type { AssociativeRecallResult } from './associative-recall.ts';

interface Result {
  readonly method: string;
  readonly size: string;
  readonly seed: number;
  readonly loss: number;
  readonly tests: readonly AssociativeRecallResult[];
}

export async function reportRecall(title: string, results: readonly Result[]): Promise<StudyReport> {
  const chart = await recallChart(results);
  const rows = results.flatMap(({ tests, ...trial }) => tests.map((test) => ({ ...trial, test })));
  const trainedOnly = (loss: number, value: number): number | undefined => (Number.isFinite(loss) ? value : undefined);
  const table = makeTable<(typeof rows)[number]>(
    [
      { header: 'model', value: ({ method }) => method },
      { header: 'size', value: ({ size }) => size },
      { header: 'seed', value: ({ loss, seed }) => trainedOnly(loss, seed) },
      { header: 'tokens', value: ({ test }) => test.length, format: formatCount },
      { header: 'pairs', value: ({ test }) => test.pairs },
      { header: 'state', value: ({ test }) => formatBytes(test.stateBytes), align: 'right' },
      { header: 'accuracy', value: ({ test }) => test.accuracy, format: fixed(3) },
      { header: 'questions', value: ({ test }) => test.questions, format: formatCount },
      { header: 'last loss', value: ({ loss }) => trainedOnly(loss, loss), format: fixed(3) },
    ],
    rows,
  );
  return {
    json: { task: 'mqar', trials: results },
    title,
    sections: [
      {
        title: 'Recall',
        blocks: [
          { kind: 'chart', chart },
          { kind: 'table', table },
        ],
      },
    ],
    charts: { recall: chart },
  };
}

/** A line a method over the sizes, by bytes of the state on the longest rows; seeds are averaged, their range is drawn. */
function recallChart(results: readonly Result[]): Promise<Chart> {
  const longest = ({ tests }: Result) => tests.toSorted((a, b) => b.length - a.length || b.pairs - a.pairs)[0];
  const { length, pairs } = longest(results[0]);
  return lineChart({
    title: `Associative recall, ${pairs} pairs in ${formatCount(length)} tokens, against memory`,
    description: 'Share of right answers on the longest rows, against the bytes of the state of all layers.',
    x: { label: 'state', scale: 'log2', format: formatBytes },
    y: { label: 'accuracy', min: 0, max: 1, format: fixed(1) },
    lines: groupedBy(results, ({ method }) => method).map((own) => {
      const points = groupedBy(own, ({ size }) => size).map((seeds) => {
        const tests = seeds.map(longest);
        const accuracies = tests.map(({ accuracy }) => accuracy);
        const [low, high] = [Math.min(...accuracies), Math.max(...accuracies)];
        return { x: tests[0].stateBytes, y: average(accuracies), low, high };
      });
      return { name: own[0].method, points: points.toSorted((a, b) => a.x - b.x) };
    }),
  });
}
