/**
 * A conversion's progress, in its run folder: `conversion.json`, replaced as a whole after every stage, and the best stage's
 * weights in `best/STAGE.safetensors`, complete before the file names the stage. A stopped conversion continues after the
 * last stage recorded.
 */
import { z } from 'zod';
import type { RunFile } from '../files/run-folder.ts';
import { whole } from '../files/schema-values.ts';

const stageSchema = z.strictObject({
  name: z.string(),
  /** On the validation text. */
  perplexity: z.number(),
  /** With the original on its own text, if the judge measures generation. */
  agreement: z.strictObject({ greedyLength: z.number(), sameNext: z.number(), kl: z.number() }).optional(),
  seconds: z.number().min(0),
  /** Optimizer steps, per layer if layers train by themselves; 0 for closed-form stages. */
  steps: whole(),
  /** Whether the judge found it better than the best before: the next stage then starts from it. */
  kept: z.boolean(),
  /** Per layer, if the stage trains layers by themselves: squared error over the teacher's squares. */
  layers: z.array(z.strictObject({ layer: whole(), before: z.number(), after: z.number() })).optional(),
});

const schema = z.strictObject({
  format: z.literal('linnet-conversion'),
  version: z.literal(2),
  /** The conversion's identity: a resumed one must agree. */
  identity: z.string(),
  keptLayers: z.array(whole()),
  /**
   * Per layer: perplexity with it alone converted; nats per token more than the original, on text and on copies from far
   * back.
   */
  sensitivity: z.array(
    z.strictObject({ layer: z.int(), perplexity: z.number(), textLoss: z.number(), recallLoss: z.number() }),
  ),
  /** On the validation text. */
  original: z.number(),
  stages: z.array(stageSchema),
  /** Optimizer steps of started stages: measured once, since a resumed stage must make as many. */
  planned: z.record(z.string(), whole()),
});

/** The result of one stage of a conversion. */
export type StageResult = z.infer<typeof stageSchema>;
/** The file's contents. */
export type ConversionProgress = z.infer<typeof schema>;

export const progressFile: RunFile<ConversionProgress> = {
  file: 'conversion.json',
  schema,
  what: 'the progress of a conversion',
  remedy: 'start anew in another folder',
};

export function newProgress(
  start: Pick<ConversionProgress, 'identity' | 'keptLayers' | 'sensitivity' | 'original'>,
): ConversionProgress {
  return { format: 'linnet-conversion', version: 2, stages: [], planned: {}, ...start };
}
