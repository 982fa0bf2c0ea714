/** The curves of a run, in its folder: `metrics.csv`, `curves.svg` and `curves.html`. */
import { basename, join } from 'node:path';
import { writeFileAtomic } from '../../files/atomic.ts';
import type { ChartLine } from '../../report/charts/chart-description.ts';
import { lineChart } from '../../report/charts/chart.ts';
import { commandLine } from '../../report/command-line.ts';
import { writeReport } from '../../report/html.ts';
import { type Metric, readRun } from '../../report/record.ts';
import { average, stretchesOf } from '../../report/statistics.ts';

/** Table columns; columns without values are left out. */
const columns = ['update', 'loss', 'heldOutLoss', 'gradientNorm', 'learningRate', 'tokens', 'seconds'] as const;

/** More points than this are no wider than a pixel: neighbours are averaged. */
const mostPoints = 400;

/**
 * Writes the curves of the record of a folder. Runs of fewer than two optimizer steps get no picture.
 * @throws LinnetError as `readRun`
 */
export async function writeCurves(folder: string): Promise<void> {
  const { metrics, record } = await readRun(folder);
  await writeFileAtomic(join(folder, 'metrics.csv'), csvOf(metrics));
  const loss = pointsOf(metrics, 'loss');
  if (loss.length < 2) return;
  const heldOut = pointsOf(metrics, 'heldOutLoss');
  const lines: ChartLine[] = [{ name: 'training', points: averaged(loss) }];
  if (heldOut.length > 0) lines.push({ name: 'held-out', points: heldOut });
  const x = { label: 'optimizer steps' };
  const losses = await lineChart({ title: 'Loss', x, y: { label: 'loss', unit: 'nats' }, lines });
  const rate = [{ name: 'learning rate', points: averaged(pointsOf(metrics, 'learningRate')) }];
  const rates = await lineChart({ title: 'Learning rate', x, y: { label: 'rate', fromZero: true }, lines: rate });
  await writeFileAtomic(join(folder, 'curves.svg'), losses.svgFile());
  await writeReport(join(folder, 'curves.html'), {
    title: basename(folder),
    command: record.command.length === 0 ? undefined : commandLine(record.command),
    sections: [{ title: 'Curves', blocks: [losses, rates].map((chart) => ({ kind: 'chart' as const, chart })) }],
  });
}

/** One line per optimizer step; a measurement on held-out data is in the line of its step. */
function csvOf(metrics: readonly Metric[]): string {
  const steps = new Map<number, Metric>();
  for (const metric of metrics) {
    const update = Number(metric.update);
    steps.set(update, { ...steps.get(update), ...metric });
  }
  const found = columns.filter((column) => metrics.some((metric) => metric[column] !== undefined));
  const rows = [...steps.values()].map((metric) => found.map((column) => String(metric[column] ?? '')));
  return [found, ...rows].map((cells) => `${cells.join(',')}\n`).join('');
}

interface Point {
  readonly x: number;
  readonly y: number;
}

function pointsOf(metrics: readonly Metric[], name: string): Point[] {
  return metrics.flatMap(({ update, [name]: value }) =>
    typeof value === 'number' && typeof update === 'number' ? [{ x: update, y: value }] : [],
  );
}

function averaged(points: readonly Point[]): Point[] {
  return stretchesOf(points, mostPoints).map((part) => {
    return { x: average(part.map(({ x }) => x)), y: average(part.map(({ y }) => y)) };
  });
}
