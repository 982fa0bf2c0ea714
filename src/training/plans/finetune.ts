/** Fine-tuning: a model is trained further, by the requested objective or its default one. */
import { z } from 'zod';
import { adaptationShape, type ChosenAdaptation, chosenAdaptation, planLora, planMixerRate } from './adaptation.ts';
import { objectiveShape, prepareObjective } from './objectives.ts';
import { memoryLimit, parseOptions, settingsOf, trainingShape } from './options.ts';
import { checkPairFields } from './text.ts';
import { runPlan, type TrainingHooks, type TrainingResult } from './run.ts';
import type { TrainingSettings } from '../settings.ts';
import { planTraining, type TrainingPlan, type WorkPlan } from './plan.ts';
import {
  loadCausalShapes,
  type LoadedModel,
  type ModelWeights,
  openModelWeights,
  readParameters,
} from '../../checkpoint/load-model.ts';
import { segmentWeights } from '../../checkpoint/stored-parameter.ts';
import type { CausalModel } from '../../models/model.ts';
import type { SegmentWeights } from '../../runtime/segmented-program.ts';
import { loraOf, trainLora, type WholeGroup, wholeParameters } from '../lora.ts';
import { chooseForm } from '../memory-form.ts';
import { causalObjective } from '../objectives/next-token.ts';
import { fitStep, type PlannedJob } from '../step-cost.ts';
import type { TrainingJob } from '../trainer.ts';
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
 * Trains a model further and saves it as a Hugging Face folder, with a record and snapshots in a run folder next to it. Of matrices
 * in codes (GGUF) low-rank updates are trained through the decoded numbers of one layer at a time, and saved as an adapter unless
 * `loraSave` says otherwise.
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
  const { parsed, settings, prepare, inLayers } = finetuning(model, options);
  await using weights = await inLayers();
  return await runPlan<FinetuneDetails>(parsed, hooks, settings, prepare(undefined, weights));
}

/**
 * Memory, disk and time of the same; of a causal model no weights are read.
 * @throws OptionsError and LinnetError as `finetune`
 */
export async function planFinetune(model: string, options: FinetuneOptions): Promise<WorkPlan> {
  const { parsed, settings, prepare, inLayers } = finetuning(model, options);
  await using weights = await inLayers();
  return await planTraining('finetune', await prepare(loadCausalShapes, weights)(settings), parsed, settings);
}

function finetuning(model: string, options: FinetuneOptions) {
  const parsed = parseOptions(finetuneSchema, options);
  checkPairFields(parsed);
  const adaptation = chosenAdaptation(parsed);
  const settings = settingsOf(parsed);
  const prepare =
    (load?: typeof loadCausalShapes, weights?: ModelWeights<CausalModel>) =>
    async (given: TrainingSettings): Promise<TrainingPlan> => {
      const read = load ?? (weights && (() => wholeGroups(weights, adaptation?.whole ?? [])));
      const asked = weights === undefined ? parsed : { ...parsed, recompute: false };
      const { plan, base } = await prepareObjective(model, asked, given, read);
      const rated = planMixerRate(plan, parsed.mixerLrFactor, base.model);
      if (adaptation === undefined) return rated;
      if (weights === undefined) return planLora(rated, adaptation, parsed, base);
      const { loraSave = hasCodes(weights) ? 'adapter' : 'merged' } = parsed;
      const adapted = planLora(rated, adaptation, { ...parsed, loraSave }, { ...base, stored: weights.parameters });
      return { ...adapted, weights: frozenWeights(weights, adapted), variant: { ...adapted.variant, form: 'layers' } };
    };
  return { parsed, settings, prepare, inLayers: () => openForLayers(model, parsed, settings, adaptation) };
}

/** Whether matrices are in codes, which are never decoded all at once. */
function hasCodes({ names, codes }: Pick<ModelWeights, 'names' | 'codes'>): boolean {
  return names.some((name) => codes(name) !== undefined);
}

/**
 * The folder of a causal model whose updates are trained layer by layer, since it is in codes or does not fit whole; undefined where
 * it does.
 * @throws LinnetError `CONFIG` where neither form fits
 */
async function openForLayers(
  folder: string,
  { objective = 'causal', memory }: z.output<typeof finetuneSchema>,
  settings: TrainingSettings,
  adaptation: ChosenAdaptation | undefined,
): Promise<ModelWeights<CausalModel> | undefined> {
  if (adaptation === undefined || objective !== 'causal') return undefined;
  const weights = await openModelWeights(folder);
  const { model } = weights;
  if (model.kind === 'causal') {
    const base: Omit<TrainingJob, 'dataset'> = {
      model,
      parameters: new Map(),
      objective: causalObjective(model, settings.length, settings),
      settings,
    };
    const job = trainLora(base, loraOf(model, adaptation.choice), wholeParameters(model, adaptation.whole), 0);
    const limit = memoryLimit(memory);
    const bytesOf = (own: PlannedJob): number => fitStep(own, limit).cost.bytes;
    const bytes = {
      whole: hasCodes(weights) ? undefined : bytesOf(job),
      layers: bytesOf({ ...job, weights: frozenWeights(weights, job) }),
    };
    const { form } = chooseForm('a step', bytes, limit, ['a smaller `length`']);
    if (form === 'layers') return { ...weights, model };
  }
  await weights[Symbol.asyncDispose]();
  return undefined;
}

function frozenWeights(
  { parameters }: Pick<ModelWeights, 'parameters'>,
  { trainable = () => true }: Pick<TrainingPlan, 'trainable'>,
): SegmentWeights {
  return segmentWeights(new Map([...parameters].filter(([name]) => !trainable(name))));
}

/** The model with those parameters in memory that are trained whole. */
async function wholeGroups(weights: ModelWeights<CausalModel>, groups: readonly WholeGroup[]): Promise<LoadedModel> {
  const { model, path } = weights;
  const names = [...wholeParameters(model, groups)];
  return {
    model,
    path,
    fingerprint: await weights.fingerprint(),
    parameters: await readParameters({ ...weights, names }),
  };
}
