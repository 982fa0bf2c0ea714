/** Fine-tuning: a model is trained further, by the requested objective or its default one. */
import { z } from 'zod';
import { adaptationShape, chosenAdaptation, planLora, planMixerRate } from './adaptation.ts';
import { objectiveShape, prepareObjective } from './objectives.ts';
import { parseOptions, settingsOf, trainingShape } from './options.ts';
import { checkPairFields } from './text.ts';
import { runPlan, type TrainingHooks, type TrainingResult } from './run.ts';
import type { TrainingSettings } from '../settings.ts';
import { planTraining, type TrainingPlan, type WorkPlan } from './plan.ts';
import { loadCausalShapes } from '../../checkpoint/load-model.ts';
import { requireOptions, requirePath } from '../../files/arguments.ts';

const finetuneSchema = z.strictObject({ ...trainingShape, ...objectiveShape, ...adaptationShape });
/** The options of `finetune`; all but `data` and `out` may be left out. */
export type FinetuneOptions = z.input<typeof finetuneSchema>;

/** Further results about a fine-tuned model. */
export interface FinetuneDetails {
  /** `out` holds a PEFT adapter and no model. */
  readonly adapter?: boolean;
}

/**
 * Trains a model further and saves it as a Hugging Face folder, with a record and snapshots in a run folder next to it.
 *
 * @param model folder of the model
 * @throws OptionsError for options that are wrong or exclude each other; LinnetError `PATH` if `out` or a run exists,
 *   `CONFIG` for an objective that does not fit the model, `MISMATCH` for resuming another run, `ABORTED` when the signal
 *   fires, after a snapshot
 * @example
 * const { loss } = await finetune('models/bert', {
 *   objective: 'classify', data: ['train.tsv'], textField: 'sentence', steps: 200, learningRate: 1e-4, out: 'runs/sst2',
 * });
 */
export async function finetune(
  model: string,
  options: FinetuneOptions,
  hooks: TrainingHooks = {},
): Promise<TrainingResult<FinetuneDetails>> {
  requirePath(model, 'the model');
  requireOptions(hooks, 'the hooks');
  const { parsed, settings, prepare } = finetuning(model, options);
  return await runPlan<FinetuneDetails>(parsed, hooks, settings, prepare());
}

/**
 * Memory, disk and time of the same; of a causal model no weights are read.
 * @throws OptionsError and LinnetError as `finetune`
 */
export async function planFinetune(model: string, options: FinetuneOptions): Promise<WorkPlan> {
  const { parsed, settings, prepare } = finetuning(model, options);
  return await planTraining('finetune', await prepare(loadCausalShapes)(settings), parsed, settings);
}

function finetuning(model: string, options: FinetuneOptions) {
  const parsed = parseOptions(finetuneSchema, options);
  checkPairFields(parsed);
  const adaptation = chosenAdaptation(parsed);
  const prepare =
    (load?: typeof loadCausalShapes) =>
    async (settings: TrainingSettings): Promise<TrainingPlan> => {
      const { plan, base } = await prepareObjective(model, parsed, settings, load);
      const rated = planMixerRate(plan, parsed.mixerLrFactor, base.model);
      return adaptation === undefined ? rated : planLora(rated, adaptation, parsed, base);
    };
  return { parsed, settings: settingsOf(parsed), prepare };
}
