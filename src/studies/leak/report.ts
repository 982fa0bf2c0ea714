/** The report of the leak demonstration: training losses, and each model's loss where there is no future. */
import { average } from '../../evaluation/tasks/metrics/statistics.ts';
import { lineChart } from '../../report/charts/chart.ts';
import { fixed } from '../../report/quantities.ts';
import { makeTable } from '../../report/table.ts';
import { groupedBy } from '../frame/over-seeds.ts';
import type { StudyReport } from '../frame/study.ts';
import type { LeakRun } from './training.ts';

type Result = LeakRun & { readonly strength: number; readonly seed: number };

const names = new Map([
  [1, 'masked'],
  [0, 'unmasked: reads the future'],
]);

const nameOf = (strength: number): string => names.get(strength) ?? `masked to ${strength}`;

/** Mean of the last tenth of the optimizer steps. */
function trainingLoss({ points }: LeakRun): number {
  return average(points.slice(-Math.ceil(points.length / 10)).map(({ loss }) => loss));
}

/** The report, with charts `leak` and, for several degrees, `mask-strength`. */
export async function reportLeak(results: readonly Result[]): Promise<StudyReport> {
  const leak = await lossChart(results);
  const table = makeTable<Result>(
    [
      { header: 'convolution', value: ({ strength }) => nameOf(strength) },
      { header: 'seed', value: ({ seed }) => seed },
      { header: 'training loss', unit: 'nats per byte', value: trainingLoss, format: fixed(3) },
      {
        header: 'without a future',
        unit: 'nats per byte',
        value: ({ nextByteLoss }) => nextByteLoss,
        format: fixed(3),
      },
    ],
    results,
  );
  const strength = new Set(results.map((run) => run.strength)).size > 2 ? await strengthChart(results) : undefined;
  const drawn = strength === undefined ? [leak] : [leak, strength];
  return {
    json: { runs: results.map((run) => ({ ...run, trainingLoss: trainingLoss(run) })) },
    title: 'A convolution that reads the future',
    sections: [
      {
        title: 'Losses',
        blocks: [...drawn.map((chart) => ({ kind: 'chart', chart }) as const), { kind: 'table', table }],
      },
    ],
    charts: { leak, ...(strength && { 'mask-strength': strength }) },
  };
}

/** Training losses over the optimizer steps, of the first seed. */
function lossChart(results: readonly Result[]) {
  const runs = results.filter(({ seed }) => seed === results[0].seed);
  const ends = runs.map((run) => `${run.points[run.points.length - 1].loss.toFixed(2)} ${nameOf(run.strength)}`);
  return lineChart({
    title: 'Training loss with the convolution masked and unmasked',
    description: `Training loss over ${runs[0].points.length} optimizer steps; at the end ${ends.join(', ')}.`,
    x: { label: 'optimizer step' },
    y: { label: 'training loss', unit: 'nats per byte', fromZero: true },
    lines: runs.map(({ strength, points }) => {
      return { name: nameOf(strength), points: points.map(({ step, loss }) => ({ x: step, y: loss })) };
    }),
  });
}

/** Losses by the degree of masking: means over the seeds, and their range. */
function strengthChart(results: readonly Result[]) {
  const line = (name: string, measure: (run: LeakRun) => number) => {
    const points = groupedBy(results, ({ strength }) => String(strength)).map((runs) => {
      const values = runs.map(measure);
      return { x: runs[0].strength, y: average(values), low: Math.min(...values), high: Math.max(...values) };
    });
    return { name, points: points.toSorted((a, b) => a.x - b.x) };
  };
  return lineChart({
    title: 'Masking strength of the convolution',
    description: 'Loss in training and on bytes with nothing behind them, by how much of the future is masked.',
    x: { label: 'masking strength', min: 0, max: 1 },
    y: { label: 'loss', unit: 'nats per byte', fromZero: true },
    lines: [line('in training', trainingLoss), line('where there is no future', ({ nextByteLoss }) => nextByteLoss)],
  });
}
