/** Memory, disk and time of the stages of a conversion, known before the work from the shapes of the model. */
import { graphCost } from '../graph/cost.ts';
import { Graph } from '../graph/graph.ts';
import { concat, reshape } from '../graph/ops/layout.ts';
import { max } from '../graph/ops/reduce.ts';
import { parallelHidden } from '../models/graphs/parallel-graph.ts';
import type { CausalModel } from '../models/model.ts';
import { InputParameters, parameterCount } from '../nn/parameters.ts';
import { overPositions } from '../training/objectives/position-blocks.ts';
import { memoryLimit } from '../training/plans/options.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { measureOperations, processBytes } from '../training/step-cost.ts';
import { transferCost } from './transfer-layers.ts';
import { plannedStudent, requireStep, sequences, trainedLayers, transferRows } from './stage-training.ts';
import type { ConversionOptions } from './options.ts';
import { rowLength, type TrainingStage, trainingStages, windowLength } from './stages.ts';
import { type ConversionTexts, trainingRows } from './texts.ts';

/** A stage before it runs; `tokens` are those that it reads to learn, or to be measured. */
export interface PlannedStage {
  readonly name: string;
  /** Tokens of a row. */
  readonly length: number;
  /** Rows that the engine reads at once. */
  readonly batch: number;
  readonly tokens: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly seconds: number;
}

/** The stages of a conversion in their order, and the most memory that they may take. */
export interface ConversionPlan {
  readonly stages: readonly PlannedStage[];
  readonly memoryLimitBytes: number;
}

/** Products of small matrices, and all that is no product, take about as long as a third of the products. */
const overhead = 1.35;
const calibrationTokens = 4 * 256;

/** Texts whose sizes count. */
interface PlannedTexts {
  readonly tokenizer: Tokenizer;
  readonly texts: ConversionTexts;
}

/**
 * Plans a conversion; reads no weights.
 * @throws LinnetError `INPUT` as `chooseMixer`, `CONFIG` for a stage over the limit of memory
 */
export async function planConversion(
  model: CausalModel,
  { tokenizer, texts }: PlannedTexts,
  options: Omit<ConversionOptions, 'folder'>,
): Promise<ConversionPlan> {
  const { compile } = options;
  const limit = options.memoryBytes ?? memoryLimit(undefined);
  const validationTokens = texts.validation.windows.reduce((total, { tokens }) => total + tokens.length, 0);
  const length = rowLength(model, options.length);
  const { rows } = await trainingRows(texts.training, tokenizer, length);
  const rate = await measureOperations(compile);
  const time = (operations: number): number => (overhead * operations) / rate;
  const student = plannedStudent(model, options);
  const layers = trainedLayers(model, student);
  const weightBytes = 4 * parameterCount(student.parameters);
  const window = windowLength(model);
  const reading = readingCost(model, window);
  const measured = time((reading.operations * validationTokens) / window);
  const base = { memoryBytes: processBytes + weightBytes + reading.peakBytes, diskBytes: weightBytes };
  const { heads, keyValueHeads, headWidth } = model.sizes;
  const samples = model.sizes.layers * 4 * calibrationTokens * 2 * (heads + keyValueHeads) * headWidth;
  const stages: PlannedStage[] = [
    { name: 'linearize', length: window, batch: 1, tokens: 2 * validationTokens, ...base, seconds: 2 * measured },
    {
      ...{ name: 'calibrate', length: 256, batch: 1, tokens: calibrationTokens },
      // The weights of the stage before are removed when these are complete.
      ...{ memoryBytes: base.memoryBytes + 2 * samples, diskBytes: 2 * weightBytes },
      seconds: measured + time((reading.operations * calibrationTokens) / window) + layers.length * 0.3,
    },
  ];
  for (const stage of trainingStages) {
    const planned = (stage.by === 'layers' ? planLayers : planModel)(stage, {
      ...options,
      model,
      student,
      memoryBytes: limit,
      time,
      rows,
      layers,
    });
    if (planned === undefined) continue;
    stages.push({
      ...planned,
      memoryBytes: Math.max(base.memoryBytes, planned.memoryBytes),
      diskBytes: planned.diskBytes + 2 * weightBytes,
      seconds: planned.seconds + measured,
    });
  }
  return { stages, memoryLimitBytes: limit };
}

interface StageInputs extends Omit<ConversionOptions, 'folder'> {
  readonly model: CausalModel;
  readonly student: CausalModel;
  readonly time: (operations: number) => number;
  readonly rows: number;
  readonly layers: readonly number[];
}

function planModel(stage: TrainingStage, inputs: StageInputs): PlannedStage | undefined {
  const { model, student, time, steps, budget, batch = sequences } = inputs;
  const count = steps?.[stage.name];
  const cost = count === 0 ? undefined : requireStep(stage, model, student, inputs);
  if (cost === undefined) return undefined;
  const length = stage.lengths * rowLength(model, inputs.length);
  const each = time(cost.operations);
  const planned = count ?? Math.max(0, Math.floor((stage.share * budget) / each));
  return {
    ...{ name: stage.name, length, batch: cost.microBatch, tokens: planned * batch * length },
    ...{ memoryBytes: cost.bytes, diskBytes: 2 * cost.trainingBytes, seconds: planned * each },
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
    ...{ name: stage.name, length, batch: rowsAtOnce, tokens: planned * rowsAtOnce * length },
    memoryBytes: cost.memoryBytes + 4 * parameterCount(student.parameters),
    ...{ diskBytes: cost.diskBytes, seconds: once + planned * each },
  };
}

/** A row of the original, read up to its predictions. */
function readingCost(model: CausalModel, length: number) {
  const graph = new Graph('reading');
  const source = new InputParameters(graph);
  const hidden = parallelHidden(model, source, graph.input('tokens', 'int32', [1, length]));
  const best = overPositions([reshape(hidden, [length, model.sizes.width])], model.sizes.vocabulary, ([features]) =>
    max(model.head(source, features), [1]),
  );
  graph.output('best', concat(best, 0));
  return graphCost(graph);
}
