/**
 * Trains small models whose convolution is masked to degrees between not at all and wholly, two seeds each, and draws
 * docs/figures/mask-strength.svg.
 *
 *     npx tsx scripts/mask-strength-figure.ts
 */
import { mkdirSync } from 'node:fs';
import { writeFileAtomic } from '../src/files/atomic.ts';
import { lineChart } from '../src/report/charts/chart.ts';
import { maskStrengthRuns, type MaskStrengthRun } from '../src/studies/leak-demonstration.ts';

const file = 'docs/figures/mask-strength.svg';
const strengths = [0, 0.5, 0.9, 1];
const steps = 200;

const runs = await maskStrengthRuns({
  strengths,
  steps,
  seeds: [1, 2],
  compile: { threads: 1 },
  onRun: (run) =>
    console.log(
      `strength ${run.strength}, seed ${run.seed}: training loss ${trainingLoss(run).toFixed(3)}, ` +
        `of a byte with nothing behind it ${run.nextByteLoss.toFixed(3)}`,
    ),
});

/** Mean of the last tenth of the updates. */
function trainingLoss({ points }: MaskStrengthRun): number {
  const last = points.slice(-Math.ceil(points.length / 10));
  return last.reduce((sum, { loss }) => sum + loss, 0) / last.length;
}

function line(name: string, measure: (run: MaskStrengthRun) => number) {
  const points = strengths.map((strength) => {
    const values = runs.filter((run) => run.strength === strength).map(measure);
    const y = values.reduce((sum, value) => sum + value, 0) / values.length;
    return { x: strength, y, low: Math.min(...values), high: Math.max(...values) };
  });
  return { name, points };
}

const chart = await lineChart({
  title: 'Masking strength of the convolution',
  description: 'Loss in training and on bytes with nothing behind them, by how much of the future is masked.',
  x: { label: 'masking strength', min: 0, max: 1 },
  y: { label: 'loss', unit: 'nats per byte', fromZero: true },
  lines: [line('in training', trainingLoss), line('where there is no future', ({ nextByteLoss }) => nextByteLoss)],
});
mkdirSync('docs/figures', { recursive: true });
await writeFileAtomic(file, chart.svgFile());
console.log(`wrote ${file}`);
