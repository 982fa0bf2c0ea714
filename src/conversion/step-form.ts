/**
 * The form of an optimizer step of a stage: with all weights in memory; layer by layer; or layer by layer with low-rank updates in
 * place of matrices, for a model whose matrices do not fit with their gradients and moments.
 */
import { layeredWeights, segmentWeights } from '../checkpoint/stored-parameter.ts';
import { internalError, LinnetError } from '../errors.ts';
import type { DeferredTensor } from '../graph/tensor.ts';
import { weightMatrices } from '../models/graphs/weight-matrices.ts';
import type { Lora } from '../nn/lora.ts';
import { parameterCount, selectParameters } from '../nn/parameters.ts';
import { formatBytes, formatCount } from '../report/quantities.ts';
import { trainLora } from '../training/lora.ts';
import { memoryAfterEngine, type MemoryForm } from '../training/memory-form.ts';
import { memoryLimit } from '../training/plans/options.ts';
import { fitStep, type StepCost } from '../training/step-cost.ts';
import type { TrainingJob } from '../training/trainer.ts';
import type { ConversionOptions } from './options.ts';
import {
  type PreparedStage,
  rowLength,
  sequences,
  stageSettings,
  timedSteps,
  type TrainingStage,
  type Weighted,
} from './stages.ts';

/** Forms of a step, the one that learns fastest first. */
export const stepForms = ['whole', 'layers', 'updates'] as const;
export type StepForm = (typeof stepForms)[number];

/** Rank and α of updates, as of the paper's fine-tuning. */
const updateScale = { rank: 8, alpha: 16 } as const;

/** Options that the size of a step depends on. */
export interface StepOptions extends Pick<ConversionOptions, 'batch' | 'length' | 'seed' | 'memoryBytes' | 'judge'> {
  /** Whether the model's weights are in memory in any case, or those of one layer at a time. Default: as they are. */
  readonly weightsForm?: MemoryForm;
}

/** A step in its form. */
export interface FormedStep {
  readonly form: StepForm;
  readonly cost: StepCost;
}

/** The parts of a stage's training that depend on its form. */
type FormedJob = Pick<TrainingJob, 'model' | 'parameters' | 'weights' | 'objective' | 'trainable' | 'variant'> & {
  readonly lora?: Lora;
};

/** The job of a stage in a form. @param parameters of the trained ones those in memory are read; of all, in the form `whole` */
export function jobInForm(
  form: StepForm,
  stage: TrainingStage,
  { model }: Pick<Weighted, 'model'>,
  { trained, objective, parameters }: PreparedStage,
  resident: TrainingJob['parameters'],
  seed: number,
): FormedJob {
  const job = { model, objective, trainable: (name: string) => trained.has(name), variant: { stage: stage.name } };
  if (form === 'whole') return { ...job, parameters: resident };
  const inLayers = (isTrained: (name: string) => boolean) =>
    segmentWeights(selectParameters(parameters, (name) => !isTrained(name)));
  const variant = { ...job.variant, form };
  if (form === 'layers') return { ...job, variant, parameters: resident, weights: inLayers(job.trainable) };
  const lora = { ...updateScale, matrices: trainedMatrices(model, trained) };
  const others = new Set([...trained].filter((name) => !lora.matrices.has(name)));
  const adapted = trainLora({ ...job, variant, parameters: resident }, lora, others, seed);
  return { ...adapted, lora, weights: inLayers((name) => others.has(name)) };
}

function trainedMatrices(model: Weighted['model'], trained: ReadonlySet<string>): Lora['matrices'] {
  return selectParameters(weightMatrices(model), (name) => trained.has(name));
}

/**
 * The step of a stage that trains the model, in the first form that fits, with the largest micro-batch; weights are not read.
 * Undefined where there is nothing to train.
 * @throws LinnetError `CONFIG` for a step that fits in no form
 */
export function requireStep(
  stage: TrainingStage,
  teacher: Weighted,
  student: Weighted,
  options: StepOptions,
): FormedStep | undefined {
  const { batch = sequences, seed = 0, memoryBytes: limit = memoryLimit(undefined) } = options;
  const { weightsForm = formOf(teacher) } = options;
  const length = stage.lengths * rowLength(student.model, options.length);
  const [taught, own] = unread(teacher, student);
  const prepared = stage.prepare(taught, own, length);
  if (prepared === undefined) return undefined;
  const settings = stageSettings(stage, { steps: timedSteps, length, batch, seed });
  const hasMatrices = trainedMatrices(student.model, prepared.trained).size > 0;
  const besides = memoryBesides(teacher, student, options);
  const forms = stepForms.filter((form) =>
    form === 'updates' ? hasMatrices : weightsForm === 'whole' || (form === 'layers' && !hasMatrices),
  );
  let least: FormedStep | undefined;
  for (const form of forms) {
    const beside = form === 'whole' ? 0 : besides;
    const job = jobInForm(form, stage, student, prepared, new Map(), seed);
    const { cost } = fitStep({ ...job, settings }, limit - beside);
    const step = { form, cost: { ...cost, bytes: cost.bytes + beside } };
    if (step.cost.bytes <= limit) return step;
    if (least === undefined || step.cost.bytes < least.cost.bytes) least = step;
  }
  if (least === undefined) return undefined;
  const { cost } = least;
  throw new LinnetError(
    'CONFIG',
    `in stage ${stage.name} a step of ${cost.microBatch} × ${formatCount(length)} tokens takes about ` +
      `${formatBytes(cost.bytes)}, and the limit is ${formatBytes(limit)}. What helps: a smaller \`length\`, a larger ` +
      `\`memory\` if the machine has it, or 0 in \`steps\` for this stage`,
  );
}

/** Whether a model's weights are in memory, or read layer by layer. */
function formOf({ parameters }: Weighted): MemoryForm {
  return layeredWeights(parameters) === undefined ? 'whole' : 'layers';
}

/** Memory of the models of a conversion besides a step that reads its own weights. */
export function memoryBesides(
  teacher: Weighted,
  { model }: Pick<Weighted, 'model'>,
  { weightsForm = formOf(teacher), judge }: Pick<StepOptions, 'weightsForm' | 'judge'>,
): number {
  return weightsForm === 'whole' ? 4 * parameterCount(model.parameters) : memoryAfterJudge(teacher, { judge });
}

/** Memory that stays with a process in which the original of a conversion wrote, layer by layer, for its judge. */
export function memoryAfterJudge(
  { model }: Pick<Weighted, 'model'>,
  { judge }: Pick<ConversionOptions, 'judge'>,
): number {
  return judge === 'perplexity' ? 0 : memoryAfterEngine(model.parameters);
}

/** Models whose weights are known by their shapes alone; those in files as they are. */
function unread(...models: readonly Weighted[]): Weighted[] {
  const shapes = new Map<string, DeferredTensor<'float32'>>();
  const load = () => Promise.reject(internalError('a weight was read for a plan'));
  return models.map(({ model, parameters }) => {
    for (const [name, { shape }] of model.parameters) {
      const value = parameters.get(name);
      if (value !== undefined && !('data' in value)) shapes.set(name, value);
      else if (!shapes.has(name)) shapes.set(name, { dtype: 'float32', shape, load });
    }
    return { model, parameters: selectParameters(shapes, (name) => model.parameters.has(name)) };
  });
}
