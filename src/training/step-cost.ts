/** Memory and time of an optimizer step, known before the work from the graph that will run. */
import { LinnetError } from '../errors.ts';
import { graphCost } from '../graph/cost.ts';
import { Graph } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { zeros } from '../graph/tensor.ts';
import { parameterCount, type ParameterShapes, selectParameters } from '../nn/parameters.ts';
import { formatBytes, formatCount } from '../report/quantities.ts';
import { compile, type CompileOptions, type Device } from '../runtime/compile.ts';
import { type TrainingSettings, microBatchRows } from './settings.ts';
import type { SegmentWeights } from '../runtime/segmented-program.ts';
import type { ParameterBlock } from './parameter-blocks.ts';
import { segmentedGradientsCost } from './segmented-gradients.ts';
import { microBatchGraph, type StepJob } from './step-program.ts';

/** A job before its data and weights are read; weights that are there are not looked at. */
export interface PlannedJob extends StepJob {
  /** Of weights that are in memory and not in the graph. Default: none. */
  readonly otherWeightBytes?: number;
  /** Whether its graphs are compiled as `lean`. Default: as `runsLean` of the model. */
  readonly lean?: boolean;
}

export interface StepCost {
  /** Rows of a micro-batch. */
  readonly microBatch: number;
  /** Everything below together, and the process itself. */
  readonly bytes: number;
  /** Weights of the model and of a teacher, also frozen ones. */
  readonly weightBytes: number;
  /** Gradients, their sum over micro-batches, moments and new values of trained parameters. */
  readonly trainingBytes: number;
  /** Results of a micro-batch that are alive at once. */
  readonly resultBytes: number;
  /** Additions and multiplications in products of matrices, of all micro-batches. */
  readonly operations: number;
}

/** Node, the engine's library, tokenizer and text. */
export const processBytes = 240 * 2 ** 20;
/** More rows of a micro-batch than fill this with results make no step faster. */
const usefulResultBytes = 2 ** 32;

/** Models above this many bytes have results of megabytes, and run without the memory of earlier runs. */
const mostKeptBytes = 2 ** 28;

/** Whether graphs of a model are compiled as `lean`. */
export function runsLean(parameters: ParameterShapes, device: Device = 'cpu'): boolean {
  return device === 'cpu' && 4 * parameterCount(parameters) > mostKeptBytes;
}

/** Factor of the results of a graph: an engine that does not run lean keeps memory of earlier runs. */
export function timesKept(lean: boolean): number {
  return lean ? 1 : 2;
}

function timesKeptOf({ lean, model }: PlannedJob): number {
  return timesKept(lean ?? runsLean(model.parameters));
}

/** @throws LinnetError `CONFIG` if nothing is trainable */
export function stepCost(job: PlannedJob): StepCost {
  const { graph, fused, blocks } = microBatchGraph(job);
  if (job.weights !== undefined) return segmentedStepCost(job, job.weights, graph, blocks);
  const { peakBytes, inputBytes, outputBytes, operations } = graphCost(graph);
  const { trainable = () => true } = job;
  const trained = 4 * parameterCount(selectParameters(job.model.parameters, trainable));
  const microBatch = microBatchRows(job.settings);
  // The fused graph reads moments, and one that accumulates reads the sum of gradients so far.
  const sums = microBatch < job.settings.batch ? 1 : 0;
  const weightBytes = inputBytes - (fused ? 2 : sums) * trained + (job.otherWeightBytes ?? 0);
  // Moments, and new values next to those that the run began with; results leave the engine as copies.
  const [trainingBytes, resultBytes] = [(3 + sums) * trained, Math.max(timesKeptOf(job) * peakBytes, 2 * outputBytes)];
  return {
    microBatch,
    weightBytes,
    trainingBytes,
    resultBytes,
    bytes: processBytes + weightBytes + trainingBytes + resultBytes,
    operations: operations * (job.settings.batch / microBatch),
  };
}

/** The cost of a step whose gradients are computed layer by layer. */
function segmentedStepCost(
  { settings, model }: PlannedJob,
  weights: SegmentWeights,
  loss: Graph,
  blocks: readonly ParameterBlock[],
): StepCost {
  const microBatch = microBatchRows(settings);
  const names = new Set(blocks.map(({ name }) => name));
  const { bytes: resultBytes, operations } = segmentedGradientsCost(loss, names, weights, settings.batch / microBatch);
  const trained = new Set(blocks.map(({ parameter }) => parameter));
  const trainedBytes = 4 * parameterCount(selectParameters(model.parameters, (name) => trained.has(name)));
  const trainingBytes = 5 * trainedBytes; // as they began, as they are, two moments, gradients
  const bytes = processBytes + trainingBytes + resultBytes;
  return { microBatch, weightBytes: 0, trainingBytes, resultBytes, bytes, operations };
}

/** The settings with the largest micro-batch that fits and is of use, and their cost; of one row that does not fit, its cost. */
export function fitStep(job: PlannedJob, limit: number): { settings: TrainingSettings; cost: StepCost } {
  const { settings } = job;
  const most = microBatchRows(settings);
  const divisors = Array.from({ length: most }, (_, i) => most - i).filter((rows) => settings.batch % rows === 0);
  for (const microBatch of settings.microBatch === undefined ? divisors : [most]) {
    const sized = { ...settings, microBatch };
    const cost = stepCost({ ...job, settings: sized });
    const isUseful =
      cost.resultBytes <= timesKeptOf(job) * usefulResultBytes || microBatch === divisors[divisors.length - 1];
    if ((cost.bytes <= limit && isUseful) || microBatch === 1 || settings.microBatch !== undefined) {
      return { settings: sized, cost };
    }
  }
  return { settings, cost: stepCost(job) };
}

/** As `fitStep`. @throws LinnetError as `requireMemory` */
export function requireFit(job: PlannedJob, limit: number): ReturnType<typeof fitStep> {
  const step = fitStep(job, limit);
  requireMemory(step.cost, step.settings, limit);
  return step;
}

/** @throws LinnetError `CONFIG` for a step over the limit, with what would fit */
export function requireMemory(cost: StepCost, { length }: Pick<TrainingSettings, 'length'>, limit: number): void {
  if (cost.bytes <= limit) return;
  const { microBatch, weightBytes, trainingBytes, resultBytes } = cost;
  const left = limit - (cost.bytes - resultBytes);
  const fitting = Math.floor((length * microBatch * left) / resultBytes / 64) * 64;
  const remedies = [
    ...(microBatch > 1 ? ['a smaller `microBatch`'] : []),
    ...(fitting >= 64 ? [`\`length\` ${formatCount(fitting)} with micro-batches of one row`] : []),
    ...(trainingBytes > weightBytes / 2 ? ['low-rank updates (`lora`), which train fewer parameters'] : []),
    `\`memory\` of at least ${formatBytes(cost.bytes)}`,
  ];
  throw new LinnetError(
    'CONFIG',
    `a step of ${microBatch} × ${formatCount(length)} tokens needs about ${formatBytes(cost.bytes)} (weights ` +
      `${formatBytes(weightBytes)}, gradients and moments ${formatBytes(trainingBytes)}, results ${formatBytes(resultBytes)}), ` +
      `above the limit of ${formatBytes(limit)}. What fits: ${remedies.join('; ')}`,
  );
}

/** Products of small matrices, and all that is no product, take about as long as a third of the products. */
const overhead = 1.35;

/** Seconds that operations take. @param rate operations a second, as of `measureOperations` */
export function operationSeconds(operations: number, rate: number): number {
  return (overhead * operations) / rate;
}

/** Operations per second that the engine reaches in a product of large matrices on this machine. */
export async function measureOperations(options: CompileOptions = {}): Promise<number> {
  const [rows, width] = [512, 2048];
  const graph = new Graph('rate');
  const [x, w] = [graph.input('x', 'float32', [rows, width]), graph.input('w', 'float32', [width, width])];
  graph.output('y', matmul(x, w));
  await using program = await compile(graph, options);
  const feeds = { x: zeros('float32', [rows, width]), w: zeros('float32', [width, width]) };
  let least = Number.POSITIVE_INFINITY;
  for (let time = 0; time < 10; time++) {
    const started = performance.now();
    await program.run(feeds, ['y']);
    least = Math.min(least, (performance.now() - started) / 1000);
  }
  return (2 * rows * width * width) / least;
}
