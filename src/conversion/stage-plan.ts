/** Memory, disk and time of the stages of a conversion, known before the work from the shapes of the model. */
import { agreementPeakBytes } from '../evaluation/agreement/weight-agreement.ts';
import { modelStateBytes } from '../models/graphs/model-layout.ts';
import type { CausalModel } from '../models/model.ts';
import { exchangeableLayers } from '../models/linearization/linearize.ts';
import { parameterCount } from '../nn/parameters.ts';
import { chooseForm } from '../training/memory-form.ts';
import { memoryLimit } from '../training/plans/options.ts';
import { measureOperations, operationSeconds, processBytes } from '../training/step-cost.ts';
import type { PlannedStage, WorkPlan } from '../training/plans/plan.ts';
import { transferCost } from './transfer-layers.ts';
import {
  plannedStudent,
  requireStep,
  sequences,
  type StageContext,
  trainedLayers,
  transferRows,
} from './stage-training.ts';
import { judgedText } from './judge.ts';
import { measureExtent, measureSeconds, modelBranches, readingCost, startSeconds } from './measure-extent.ts';
import type { ConversionOptions } from './options.ts';
import { sensitivityProbes } from './sensitivity.ts';
import { rowLength, type TrainingStage, trainingStages, windowLength } from './stages.ts';
import { trainingRows } from './texts.ts';

/** All stages that measure or calibrate hold a model whole. */
const helpingStage = ['a smaller model', 'distill with `stage` layers, which holds one layer at a time'];
const calibrationTokens = 4 * 256;
/** Sizes of the weights that an engine for decoding has besides them: its own, and those that it lays out anew. */
const engineCopies = 1.9;

/**
 * Plans a conversion; reads no weights.
 * @throws LinnetError `INPUT` as `chooseMixer`, `CONFIG` for a stage over the limit of memory
 */
export async function planConversion(
  model: CausalModel,
  { tokenizer, texts }: Pick<StageContext, 'tokenizer' | 'texts'>,
  options: Omit<ConversionOptions, 'folder'> & { readonly contexts?: readonly number[] },
): Promise<WorkPlan> {
  const { compile, judge: judgeName = 'both', contexts = [] } = options;
  const limit = options.memoryBytes ?? memoryLimit(undefined);
  const validationTokens = texts.validation.windows.reduce((total, { tokens }) => total + tokens.length, 0);
  const length = rowLength(model, options.length);
  const { rows } = await trainingRows(texts.training, tokenizer, length);
  const rate = await measureOperations(compile);
  const time = (operations: number): number => operationSeconds(operations, rate);
  const student = plannedStudent(model, options);
  const layers = trainedLayers(model, student);
  const weightBytes = 4 * parameterCount(student.parameters);
  const window = windowLength(model);
  const reading = readingCost(model, window);
  const read = (tokens: number): number => time((reading.operations * tokens) / window);
  const judge = judgedText(model, texts, judgeName);
  const measured = read(validationTokens + judge.tokens);
  const judgeBytes = judge.tokens === 0 ? 0 : agreementPeakBytes(model, student, judge.length);
  const base = {
    memoryBytes: processBytes + weightBytes + Math.max(reading.peakBytes, judgeBytes),
    form: 'whole' as const,
    diskBytes: weightBytes,
  };
  const engineBytes = processBytes + weightBytes + engineCopies * weightBytes;
  const { heads, keyValueHeads, headWidth } = model.sizes;
  const samples = model.sizes.layers * 4 * calibrationTokens * 2 * (heads + keyValueHeads) * headWidth;
  const stages: PlannedStage[] = [
    {
      name: 'linearize',
      length: window,
      batch: 1,
      tokens: 2 * validationTokens + judge.tokens,
      ...base,
      memoryBytes: Math.max(base.memoryBytes, judge.tokens === 0 ? 0 : engineBytes),
      seconds: read(2 * validationTokens + 2 * judge.tokens) + (judge.tokens === 0 ? 0 : startSeconds(model)),
    },
    {
      name: 'calibrate',
      length: 256,
      batch: 1,
      tokens: calibrationTokens,
      // The weights of the stage before are removed when these are complete.
      ...base,
      memoryBytes: base.memoryBytes + 2 * samples,
      diskBytes: 2 * weightBytes,
      seconds: measured + read(calibrationTokens) + layers.length * 0.3,
    },
  ];
  if ('auto' in options.keep && options.keep.auto > 0) {
    const count = exchangeableLayers(model).length;
    const probes = sensitivityProbes(model, texts.validationTokens).reduce(
      (sum, probe) => sum + probe.tokens.length,
      0,
    );
    const tokens = count * (validationTokens + probes + calibrationTokens);
    const memoryBytes = base.memoryBytes + 2 * samples;
    const seconds = read(tokens) + count * 0.3;
    stages.unshift({
      name: 'sensitivity',
      length: window,
      batch: 1,
      tokens,
      ...base,
      memoryBytes,
      diskBytes: 0,
      seconds,
    });
  }
  for (const stage of trainingStages) {
    const inputs = { ...options, model, student, memoryBytes: limit, time, rows, layers };
    const planned = (stage.by === 'layers' ? planLayers : planWholeModel)(stage, inputs);
    if (planned === undefined) continue;
    stages.push({
      ...planned,
      memoryBytes: Math.max(base.memoryBytes, planned.memoryBytes),
      diskBytes: planned.diskBytes + 2 * weightBytes,
      seconds: planned.seconds + measured,
    });
  }
  const tried = modelBranches(student).filter((branch) => branch !== 'window').length;
  const trials = { tokens: tried * (validationTokens + judge.tokens), seconds: tried * measured };
  if (tried > 0) stages.push({ name: 'branches', length: window, batch: 1, ...base, ...trials });
  const sizes = { original: model, converted: student, texts, contexts };
  const extent = measureExtent({ ...sizes, seconds: measureSeconds(options.budget), rate });
  const states = extent.contexts.reduce((sum, context) => sum + modelStateBytes(model, context), 0);
  const longest = processBytes + weightBytes + readingCost(model, extent.positionLength).peakBytes;
  stages.push({
    name: 'report',
    length: extent.positionLength,
    batch: 1,
    tokens: extent.tokens,
    seconds: extent.seconds,
    ...base,
    memoryBytes: Math.max(base.memoryBytes, longest, engineBytes + states),
    diskBytes: 2 * weightBytes,
  });
  for (const { name, form, memoryBytes } of stages) {
    chooseForm(`stage ${name}`, { [form]: memoryBytes }, limit, helpingStage);
  }
  return { stages, memoryLimitBytes: limit };
}

interface ModelInputs extends Omit<ConversionOptions, 'folder'> {
  /** Default: the model. */
  readonly teacher?: CausalModel;
  readonly model: CausalModel;
  readonly student: CausalModel;
  readonly time: (operations: number) => number;
}

interface StageInputs extends ModelInputs {
  readonly rows: number;
  readonly layers: readonly number[];
}

/** A stage that trains the whole model. @throws LinnetError as `requireStep` */
export function planWholeModel(stage: TrainingStage, inputs: ModelInputs): PlannedStage | undefined {
  const { model, teacher = model, student, time, steps, budget, batch = sequences } = inputs;
  const count = steps?.[stage.name];
  const cost = count === 0 ? undefined : requireStep(stage, teacher, student, inputs);
  if (cost === undefined) return undefined;
  const length = stage.lengths * rowLength(model, inputs.length);
  const each = time(cost.operations);
  const planned = count ?? Math.max(0, Math.floor((stage.share * budget) / each));
  return {
    name: stage.name,
    length,
    batch: cost.microBatch,
    tokens: planned * batch * length,
    memoryBytes: cost.bytes,
    form: 'whole',
    diskBytes: 2 * cost.trainingBytes,
    seconds: planned * each,
  };
}

function planLayers(
  stage: TrainingStage,
  { model, student, time, steps, budget, batch = sequences, length: given, rows: all, layers }: StageInputs,
): PlannedStage | undefined {
  const length = stage.lengths * rowLength(model, given);
  const count = steps?.[stage.name];
  const rows = transferRows(all);
  if (count === 0 || layers.length === 0 || rows < 2) return undefined;
  const rowsAtOnce = Math.max(1, Math.min(batch, Math.floor(rows / 2)));
  const cost = transferCost(model, student, layers, { rows, length, batch: rowsAtOnce });
  const [once, each] = [time(cost.passOperations), time(cost.stepOperations)];
  const planned = count ?? Math.max(0, Math.floor((stage.share * budget - once) / each));
  return {
    name: stage.name,
    length,
    batch: rowsAtOnce,
    tokens: planned * rowsAtOnce * length,
    memoryBytes: cost.memoryBytes + 4 * parameterCount(student.parameters),
    form: 'layers',
    diskBytes: cost.diskBytes,
    seconds: once + planned * each,
  };
}
