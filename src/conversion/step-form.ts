/** Memory of a conversion's whole-model training steps, and of everything else in memory. */
import { layeredWeights } from '../checkpoint/stored-parameter.ts';
import { internalError, LinnetError } from '../errors.ts';
import type { DeferredTensor } from '../graph/tensor.ts';
import { parameterCount, selectParameters } from '../nn/parameters.ts';
import { formatBytes, formatCount } from '../report/quantities.ts';
import { memoryAfterEngine, type MemoryForm } from '../training/memory-form.ts';
import { memoryLimit } from '../training/plans/options.ts';
import { fitForm, type FormedStep, formsOf, jobInForm } from '../training/step-form.ts';
import { writingForm } from './judge.ts';
import type { ConversionOptions } from './options.ts';
import { sequences, stageLength, stageSettings, timedSteps, type TrainingStage, type Weighted } from './stages.ts';

/** Options that a step's size depends on. */
export interface StepOptions extends Pick<ConversionOptions, 'batch' | 'length' | 'seed' | 'memoryBytes' | 'judge'> {
  /** Whether the model's weights are all in memory, or one layer's at a time. Default: as they are. */
  readonly weightsForm?: MemoryForm;
}

/**
 * The step of a stage that trains the model, in the first form that fits, with the largest micro-batch; reads no weights.
 * Undefined if there is nothing to train.
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
  const length = stageLength(stage, student.model, options);
  const [taught, own] = unread(teacher, student);
  const prepared = stage.prepare(taught, own, length);
  if (prepared === undefined) return undefined;
  const settings = stageSettings(stage, { steps: timedSteps, length, batch, seed });
  const all = formsOf(prepared);
  const forms = weightsForm === 'whole' ? all : all.slice(-1);
  const besides = memoryBesides(teacher, student, options);
  const step = fitForm(
    forms,
    (form) => jobInForm(form, prepared, new Map(), seed),
    settings,
    limit,
    (form) => (form === 'whole' ? 0 : besides),
  );
  if (step.cost.bytes <= limit) return step;
  const { cost } = step;
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

/** Memory of a conversion's models besides a step that reads its own weights. */
export function memoryBesides(
  teacher: Weighted,
  { model }: Pick<Weighted, 'model'>,
  { weightsForm = formOf(teacher), judge }: Pick<StepOptions, 'weightsForm' | 'judge'>,
): number {
  return weightsForm === 'whole' ? 4 * parameterCount(model.parameters) : memoryAfterJudge(teacher, { judge });
}

/** Memory that stays with a process after a conversion's original wrote, layer by layer, for its judge. */
export function memoryAfterJudge(
  { model }: Pick<Weighted, 'model'>,
  { judge }: Pick<ConversionOptions, 'judge'>,
): number {
  return judge === 'perplexity' ? 0 : memoryAfterEngine(model.parameters, writingForm.block);
}

/** Models whose weights are known only by shape; those in files as they are. */
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
