/** Plans a conversion's memory, disk and time by stage, from the model's shapes. */
import { exchangeableLayers, parametersOfMixers } from '../models/linearization/linearize.ts';
import { parameterCount } from '../nn/parameters.ts';
import { chooseForm, type MemoryForm } from '../training/memory-form.ts';
import { memoryLimit } from '../training/plans/options.ts';
import type { PlannedStage, WorkPlan } from '../training/plans/plan.ts';
import { measureOperations, operationSeconds } from '../training/step-cost.ts';
import { judgedText } from './judge.ts';
import { measureExtent, measureSeconds, modelBranches, readingCost, startSeconds } from './measure-extent.ts';
import { measuringMemory } from './measuring-memory.ts';
import type { ConversionOptions } from './options.ts';
import { sensitivityProbes } from './sensitivity.ts';
import {
  plannedStudent,
  type StageContext,
  type StageCostOptions,
  stageWork,
  trainedLayers,
} from './stage-training.ts';
import { isTrained, rowLength, type TrainingStage, trainingStages, type Weighted, windowLength } from './stages.ts';
import { calibrated, trainingRows } from './texts.ts';

const helpingStage = ['a smaller model', 'distill with `stage` layers, which holds one layer at a time'];
const calibrationTokens = calibrated.count * calibrated.length;

/**
 * Plans a conversion; reads no weights. All stages that measure or calibrate have the same form.
 * @param original plans weights in files as they are stored
 * @throws LinnetError `INPUT` like `chooseMixer`, `CONFIG` for a stage over the memory limit
 */
export async function planConversion(
  original: Weighted,
  { tokenizer, texts }: Pick<StageContext, 'tokenizer' | 'texts'>,
  options: Omit<ConversionOptions, 'folder'> & { readonly contexts?: readonly number[] },
): Promise<WorkPlan> {
  const { compile, judge: judgeName = 'both', contexts = [] } = options;
  const { model } = original;
  const limit = options.memoryBytes ?? memoryLimit(undefined);
  const validationTokens = texts.validation.windows.reduce((total, { tokens }) => total + tokens.length, 0);
  const length = rowLength(model, options.length);
  const { rows } = await trainingRows(texts.training, tokenizer, length);
  const rate = await measureOperations(compile);
  const time = (operations: number): number => operationSeconds(operations, rate);
  const student = plannedStudent(original, options);
  const layers = trainedLayers(model, student.model);
  const window = windowLength(model);
  const reading = readingCost(model, window);
  const read = (tokens: number): number => time((reading.operations * tokens) / window);
  const judge = judgedText(model, texts, judgeName);
  const measured = read(validationTokens + judge.tokens);
  const sizes = { original: model, converted: student.model, texts, contexts };
  const extent = measureExtent({ ...sizes, seconds: measureSeconds(options.budget), rate });
  const memory = measuringMemory({ original, student: student.model, texts, judge: judgeName, extent });
  const holds = (form: MemoryForm): boolean => Object.values(memory[form]).every((bytes) => bytes <= limit);
  const mixerBytes = 4 * parameterCount(parametersOfMixers(student.model));
  const planIn = (form: MemoryForm): PlannedStage[] => {
    const own = memory[form];
    const measuring = { length: window, batch: 1, form, memoryBytes: own.judge, diskBytes: mixerBytes };
    const stages: PlannedStage[] = [
      {
        ...measuring,
        name: 'linearize',
        tokens: 2 * validationTokens + judge.tokens,
        memoryBytes: own.linearize,
        seconds: read(2 * validationTokens + 2 * judge.tokens) + (judge.tokens === 0 ? 0 : startSeconds(model)),
      },
      {
        ...measuring,
        name: 'calibrate',
        length: calibrated.length,
        tokens: calibrationTokens,
        memoryBytes: own.calibrate,
        // The previous stage's weights are removed once these are complete.
        diskBytes: 2 * mixerBytes,
        seconds: measured + read(calibrationTokens) + layers.length * 0.3,
      },
    ];
    if ('auto' in options.keep && options.keep.auto > 0) {
      const count = exchangeableLayers(model).length;
      const probes = sensitivityProbes(model, texts.validationTokens);
      const probed = probes.reduce((sum, probe) => sum + probe.tokens.length, 0);
      const tokens = count * (validationTokens + probed + calibrationTokens);
      const seconds = read(tokens) + count * 0.3;
      const memoryBytes = Math.max(own.judge, own.calibrate);
      stages.unshift({ ...measuring, name: 'sensitivity', tokens, memoryBytes, diskBytes: 0, seconds });
    }
    for (const stage of trainingStages) {
      const planned = planStage(stage, {
        ...options,
        original,
        student,
        weightsForm: form,
        memoryBytes: limit,
        time,
        rows,
      });
      if (planned === undefined) continue;
      stages.push({
        ...planned,
        memoryBytes: Math.max(own.judge, planned.memoryBytes),
        diskBytes: planned.diskBytes + 2 * mixerBytes,
        seconds: planned.seconds + measured,
      });
    }
    const tried = modelBranches(student.model).filter((branch) => branch !== 'window').length;
    const trials = { tokens: tried * (validationTokens + judge.tokens), seconds: tried * measured };
    if (tried > 0) stages.push({ ...measuring, ...trials, name: 'branches' });
    const { tokens, seconds, positionLength } = extent;
    const last = { ...measuring, name: 'report', length: positionLength, tokens, seconds, memoryBytes: own.report };
    return [...stages, last];
  };
  const stages = planIn(holds('whole') ? 'whole' : 'layers');
  for (const { name, form, memoryBytes } of stages) {
    chooseForm(`stage ${name}`, { [form]: memoryBytes }, limit, helpingStage);
  }
  return { stages, memoryLimitBytes: limit };
}

interface StageInputs extends Omit<ConversionOptions, 'folder'>, StageCostOptions {
  readonly original: Weighted;
  readonly student: Weighted;
  readonly time: (operations: number) => number;
}

/** A stage that trains; undefined for one that does not. @throws LinnetError like `requireStep` */
export function planStage(stage: TrainingStage, inputs: StageInputs): PlannedStage | undefined {
  const { original, student, time, steps, budget } = inputs;
  const cost = isTrained(stage, inputs) ? stageWork[stage.by].cost(stage, original, student, inputs) : undefined;
  if (cost === undefined) return undefined;
  const { length, batch, microBatch, passOperations, stepOperations, ...needs } = cost;
  const [once, each] = [time(passOperations), time(stepOperations)];
  const count = steps?.[stage.name] ?? Math.max(0, Math.floor((stage.share * budget - once) / each));
  const tokens = count * batch * length;
  return { ...needs, name: stage.name, length, batch: microBatch, tokens, seconds: once + count * each };
}
