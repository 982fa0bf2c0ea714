/** A trial of a study of classifiers: a model with its mixers and a task, and its measurements. */
import { z } from 'zod';
import type { LoadedModel } from '../../checkpoint/load-model.ts';
import type { Model } from '../../models/families/index.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { TrainingSettings } from '../../training/settings.ts';
import { measuredNumber } from '../frame/study.ts';
import type { ClassificationMethod } from './plan.ts';
import type { TaskRows } from './rows.ts';

/** Starting weights of a model: drawn at random, or read from a folder. */
export type ClassifierBase = { readonly tokenizer: Tokenizer; readonly form: 'head' | 'text' } & (
  | { readonly kind: 'scratch'; readonly config: Readonly<Record<string, unknown>> }
  | { readonly kind: 'pretrained'; readonly loaded: LoadedModel<Model> }
);

/** Names in the plan, and the seed. */
export type ClassificationPlace = Readonly<Record<'model' | 'task' | 'method', string> & { seed: number }>;

export interface ClassificationTrial extends ClassificationPlace {
  readonly base: ClassifierBase;
  readonly mixer: ClassificationMethod;
  readonly rows: TaskRows;
  readonly settings: TrainingSettings;
}

/** Measurements of a trial. */
export const classificationMeasured = z.strictObject({
  /** The measures of the task, of the validation rows. */
  measures: z.strictObject({
    accuracy: measuredNumber.optional(),
    f1: measuredNumber.optional(),
    matthews: measuredNumber.optional(),
    pearson: measuredNumber.optional(),
    spearman: measuredNumber.optional(),
  }),
  /** Rows measured on. */
  texts: z.int(),
  /** Mean training loss of the last tenth of the optimizer steps. */
  loss: measuredNumber,
  parameters: z.int(),
  seconds: measuredNumber,
});

export type ClassificationMeasured = z.output<typeof classificationMeasured>;
export type ClassificationResult = ClassificationPlace & ClassificationMeasured;
