/** A trial of a sweep: its training data, and its measurements. */
import { z } from 'zod';
import type { LoadedModel } from '../../checkpoint/load-model.ts';
import type { Model } from '../../models/families/index.ts';
import type { TrainingSettings } from '../../training/settings.ts';
import { measuredNumber } from '../frame/study.ts';
import type { SweepVariant } from './plan.ts';
import type { StudyText } from './text.ts';

/** Where the models of a sweep start: a configuration to draw weights for, or a model to convert. */
export type SweepBase =
  | { readonly kind: 'scratch'; readonly config: Readonly<Record<string, unknown>> }
  | { readonly kind: 'converted'; readonly loaded: LoadedModel<Model> };

/** Names of model and method in the plan, whether the convolution was added, and the seed. */
export type SweepPlace = Readonly<Record<'model' | 'method', string> & { augmented: boolean; seed: number }>;

/** One model with its mixers, one seed, one budget. */
export interface SweepTrial extends SweepPlace {
  readonly base: SweepBase;
  readonly mixers: SweepVariant['mixers'];
  readonly settings: TrainingSettings;
  readonly text: StudyText;
}

/** Measurements of a trial. */
export const sweepMeasured = z.strictObject({
  /** Of the held-out text: exp of the mean −log p of its tokens, of the masked ones, or of those cut out. */
  perplexity: measuredNumber,
  /** Mean training loss of the last tenth of the optimizer steps. */
  loss: measuredNumber,
  parameters: z.int(),
  tokensPerSecond: measuredNumber,
  seconds: measuredNumber,
  /** The mixer of the last layer in words. */
  description: z.string(),
  /** Training loss; absent in results of earlier versions. */
  curve: z
    .array(z.strictObject({ update: z.int(), loss: z.number() }))
    .readonly()
    .optional(),
});

export type SweepMeasured = z.output<typeof sweepMeasured>;
export type SweepResult = SweepPlace & SweepMeasured;
