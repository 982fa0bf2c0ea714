/** Trials that train: their initial models, and training that continues from snapshots. */
import { z } from 'zod';
import { type LoadedModel, loadModel } from '../../checkpoint/load-model.ts';
import { LinnetError } from '../../errors.ts';
import { average, stretchesOf } from '../../report/statistics.ts';
import { describeModel, type Model } from '../../models/families/index.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { train, type TrainingJob } from '../../training/trainer.ts';
import { memoryLimit } from '../../training/plans/options.ts';
import { requireMemory, stepCost } from '../../training/step-cost.ts';
import type { PlanSource, TrialHooks } from './study.ts';
import type { JsonObject } from '../../files/json-object.ts';
import { filledText } from '../../files/schema-values.ts';

/** The beginning of a model, in a plan. */
export const startFields = {
  /** A config.json, whose weights are drawn from the seed of the trial. */
  config: z.record(z.string(), z.json()).optional(),
  /** Or a model folder. */
  folder: filledText.optional(),
};

type StartChoice = z.output<z.ZodObject<typeof startFields>>;

/** Whether a model has exactly one origin. */
export const hasOneStart = [
  ({ config, folder }: StartChoice): boolean => (config === undefined) !== (folder === undefined),
  { message: 'give either "config" or "folder"' },
] as const;

/** A trial's initial model, and its weights if they come from a folder. */
export interface StartingModel {
  readonly model: Model;
  readonly loaded?: LoadedModel<Model>;
}

/** @param special fields of a configuration that does not say them */
export async function openStart(
  { config = {}, folder }: StartChoice,
  source: PlanSource,
  special: JsonObject = {},
): Promise<StartingModel> {
  if (folder === undefined) return { model: describeModel({ ...special, ...config }) };
  const loaded = await loadModel(await source.model(folder));
  return { model: loaded.model, loaded };
}

/** @throws LinnetError `MISMATCH` for a model whose vocabulary is smaller than its tokenizer's */
export function requireVocabulary(name: string, { sizes }: Model, { vocabularySize }: Tokenizer): void {
  if (vocabularySize <= sizes.vocabulary) return;
  throw new LinnetError(
    'MISMATCH',
    `the tokenizer has ${vocabularySize} tokens, but the vocabulary of model "${name}" has ${sizes.vocabulary}`,
  );
}

export type TrainedTrial = Awaited<ReturnType<typeof trainTrial>>;

const curvePoints = 60;

/** @throws LinnetError `CONFIG` for a step over the memory, `ABORTED` by the signal; with `snapshots` the next call continues */
export async function trainTrial(
  job: Omit<TrainingJob, keyof TrialHooks>,
  { compile, memory = memoryLimit(undefined), signal, snapshots, onUpdate }: TrialHooks,
) {
  requireMemory(stepCost(job), job.settings, memory);
  const outcome = await train({ ...job, compile, signal, snapshots, onUpdate: (event) => onUpdate?.(event) });
  const { updates, total, finished, losses, parameters, evaluations } = outcome;
  if (!finished) throw new LinnetError('ABORTED', `stopped after ${updates} of ${total} optimizer steps`);
  return {
    parameters,
    evaluations,
    losses,
    /** Mean training loss of the last tenth of the optimizer steps. */
    loss: outcome.loss ?? Number.NaN,
    tokensPerSecond: outcome.tokensPerSecond ?? Number.NaN,
    /** Training loss, means over neighbouring optimizer steps at the last of them, steps before a resume included. */
    curve: meansOfNeighbours(losses),
  };
}

function meansOfNeighbours(losses: readonly number[]) {
  let update = 0;
  return stretchesOf(losses, curvePoints).map((part) => ({ update: (update += part.length), loss: average(part) }));
}
