/** The picture of the leak: training loss with the convolution masked and unmasked (paper, Figure 4). */
import type { LeakDemonstration, LeakRun } from './leak-demonstration.ts';
import { type ChartLine, lineChart } from '../report/charts/chart.ts';
import type { Chart } from '../report/charts/chart-renderer.ts';

/** Draws both training losses over the optimizer steps. */
export async function leakFigure({ masked, unmasked }: LeakDemonstration): Promise<Chart> {
  const last = (run: LeakRun): string => (run.points.at(-1)?.loss ?? Number.NaN).toFixed(2);
  return lineChart({
    title: 'Training loss with the convolution masked and unmasked',
    description:
      `Training loss over ${masked.points.length} optimizer steps: ${last(masked)} at the end with the mask, ` +
      `${last(unmasked)} without it, where the convolution reads the byte it is to predict.`,
    x: { label: 'optimizer step' },
    y: { label: 'training loss', unit: 'nats per byte', fromZero: true },
    lines: [line('masked', masked), line('unmasked: reads the future', unmasked)],
  });
}

function line(name: string, { points }: LeakRun): ChartLine {
  return { name, points: points.map(({ step, loss }) => ({ x: step, y: loss })) };
}
