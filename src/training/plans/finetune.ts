/** Fine-tuning: a model is trained further, by the requested objective or its default one. */
import { z } from 'zod';
import { type ChosenAdaptation, adaptationShape, chosenAdaptation, planLora, planMixerRate } from './adaptation.ts';
import { type WholeGroup, loraOf, trainLora, wholeParameters } from '../lora.ts';
import { objectiveOf, objectiveShape, prepareObjective } from './objectives.ts';
import { memoryLimit, parseOptions, settingsOf, trainingShape } from './options.ts';
import type { TrainingSettings } from '../settings.ts';
import { checkPairFields } from './text.ts';
import { runPlan, type TrainingHooks, type TrainingResult } from './run.ts';
import { planTraining, type TrainingPlan, type WorkPlan } from './plan.ts';
import {
  loadCausalShapes,
  type LoadedModel,
  type ModelWeights,
  openModelWeights,
  readParameters,
} from '../../checkpoint/load-model.ts';
import { segmentWeights } from '../../checkpoint/stored-parameter.ts';
import { requireCausal } from '../../models/families/index.ts';
import { recomputing } from '../../models/graphs/parallel-graph.ts';
import type { CausalModel } from '../../models/model.ts';
import type { SegmentWeights } from '../../runtime/segmented-program.ts';
import { chooseForm, type MemoryForm } from '../memory-form.ts';
import { causalObjective } from '../objectives/next-token.ts';
import { fitStep, type PlannedJob, requireFit } from '../step-cost.ts';
import type { TrainingJob } from '../trainer.ts';
import { requireOptions, requirePath } from '../../files/arguments.ts';
import { selectParameters } from '../../nn/parameters.ts';

const finetuneSchema = z.strictObject({ ...trainingShape, ...objectiveShape, ...adaptationShape });
/** The options of `finetune`; all but `data` and `out` may be left out. */
export type FinetuneOptions = z.input<typeof finetuneSchema>;

/** Further results about a fine-tuned model. */
export interface FinetuneDetails {
  /** `out` holds a PEFT adapter and no model. */
  readonly adapter?: boolean;
}

/**
 * Trains a model further and saves it as a Hugging Face folder, with a record and snapshots in a run folder next to it. Matrices
 * in codes (GGUF) get low-rank updates, trained through one decoded layer at a time and saved as an adapter unless `loraSave`
 * says otherwise.
 *
 * @param model folder of the model
 * @throws OptionsError for wrong or conflicting options; LinnetError `PATH` if `out` or a run exists,
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
 * Memory, disk and time of the same; does not read a causal model's weights.
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

/** Whether matrices are in codes, which are decoded piece by piece. */
function hasCodes({ names, codes }: Pick<ModelWeights, 'names' | 'codes'>): boolean {
  return names.some((name) => codes(name) !== undefined);
}

/**
 * The folder of a causal model whose low-rank updates are trained layer by layer, since it is in codes or does not fit whole;
 * undefined for all else.
 * @throws LinnetError `CONFIG` for a causal model whose step is over the limit, before weights are read
 */
async function openForLayers(
  folder: string,
  options: z.output<typeof finetuneSchema>,
  settings: TrainingSettings,
  adaptation: ChosenAdaptation | undefined,
): Promise<ModelWeights<CausalModel> | undefined> {
  if ((await objectiveOf(folder, options)) !== 'causal') return undefined;
  const weights = await openModelWeights(folder);
  let form: MemoryForm = 'whole';
  try {
    const model = requireCausal(weights.model);
    form = stepForm({ ...weights, model }, options, settings, adaptation);
    return form === 'layers' ? { ...weights, model } : undefined;
  } finally {
    if (form === 'whole') await weights[Symbol.asyncDispose]();
  }
}

/** The faster form of a step that fits. @throws LinnetError `CONFIG` if none fits */
function stepForm(
  { model, ...weights }: ModelWeights<CausalModel>,
  { memory, recompute }: z.output<typeof finetuneSchema>,
  settings: TrainingSettings,
  adaptation: ChosenAdaptation | undefined,
): MemoryForm {
  const limit = memoryLimit(memory);
  const jobOf = (learner: CausalModel): Omit<TrainingJob, 'dataset'> => ({
    model,
    parameters: new Map(),
    settings,
    objective: causalObjective(learner, settings.length, settings),
  });
  const whole = jobOf(recompute ? recomputing(model) : model);
  if (adaptation === undefined) {
    requireFit(whole, limit);
    return 'whole';
  }
  const [lora, others] = [loraOf(model, adaptation.choice), wholeParameters(model, adaptation.whole)];
  const [adapted, inLayers] = [whole, jobOf(model)].map((job) => trainLora(job, lora, others, 0));
  const bytesOf = (job: PlannedJob): number => fitStep(job, limit).cost.bytes;
  const layers = bytesOf({ ...inLayers, weights: frozenWeights(weights, inLayers) });
  const fromMemory = hasCodes(weights) ? undefined : bytesOf(adapted);
  return chooseForm('a step', { whole: fromMemory, layers }, limit, ['a smaller `length`']).form;
}

function frozenWeights(
  { parameters }: Pick<ModelWeights, 'parameters'>,
  { trainable = () => true }: Pick<TrainingPlan, 'trainable'>,
): SegmentWeights {
  return segmentWeights(selectParameters(parameters, (name) => !trainable(name)));
}

/** The model with its fully trained parameters in memory. */
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
