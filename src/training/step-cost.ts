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

/** A job before its data and weights are read; given weights are ignored. */
export interface PlannedJob extends StepJob {
  /** Weights in memory outside the graph. Default: none. */
  readonly otherWeightBytes?: number;
  /** Whether its graphs are compiled as `lean`. Default: `runsLean` of the model. */
  readonly lean?: boolean;
}

export interface StepCost {
  /** Rows of a micro-batch. */
  readonly microBatch: number;
  /** Sum of everything below, plus the process itself. */
  readonly bytes: number;
  /** Weights of the model and its teacher, including frozen ones. */
  readonly weightBytes: number;
  /** Trained parameters' gradients, their sum over micro-batches, moments and new values. */
  readonly trainingBytes: number;
  /** Largest set of a micro-batch's results alive at once. */
  readonly resultBytes: number;
  /** Additions and multiplications in matrix products, over all micro-batches. */
  readonly operations: number;
}

/** Node, the engine's library, tokenizer and text. */
export const processBytes = 240 * 2 ** 20;
/** Beyond this many bytes of results, more rows per micro-batch make no step faster. */
const usefulResultBytes = 2 ** 32;

/** Models above this many bytes have megabytes of results, and run without memory kept from earlier runs. */
const mostKeptBytes = 2 ** 28;

/** Whether a model's graphs are compiled as `lean`. */
export function runsLean(parameters: ParameterShapes, device: Device = 'cpu'): boolean {
  return device === 'cpu' && 4 * parameterCount(parameters) > mostKeptBytes;
}

/** Factor on a graph's results: an engine that does not run lean keeps memory from earlier runs. */
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
  // The fused graph reads moments; an accumulating one also reads the gradient sum so far.
  const sums = microBatch < job.settings.batch ? 1 : 0;
  const weightBytes = inputBytes - (fused ? 2 : sums) * trained + (job.otherWeightBytes ?? 0);
  // Moments, and new values next to the initial ones; results leave the engine as copies.
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
  const trainingBytes = 5 * trainedBytes; // initial values, current values, two moments, gradients
  const bytes = processBytes + trainingBytes + resultBytes;
  return { microBatch, weightBytes: 0, trainingBytes, resultBytes, bytes, operations };
}

/** Settings with the largest useful micro-batch that fits, and their cost; if one row does not fit, one row's cost. */
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

/** Like `fitStep`. @throws LinnetError as `requireMemory` */
export function requireFit(job: PlannedJob, limit: number): ReturnType<typeof fitStep> {
  const step = fitStep(job, limit);
  requireMemory(step.cost, step.settings, limit);
  return step;
}

/** @throws LinnetError `CONFIG` for a step over the limit, naming steps that would fit */
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
    `a step of ${microBatch} × ${formatCount(length)} tokens takes about ${formatBytes(cost.bytes)} (weights ` +
      `${formatBytes(weightBytes)}, gradients and moments ${formatBytes(trainingBytes)}, results ${formatBytes(resultBytes)}), ` +
      `and the limit is ${formatBytes(limit)}. What fits: ${remedies.join('; ')}`,
  );
}

/** Small matrix products and everything else add about a third of the products' time. */
const overhead = 1.35;

/** Seconds for a number of operations. @param rate operations per second, from `measureOperations` */
export function operationSeconds(operations: number, rate: number): number {
  return (overhead * operations) / rate;
}

/** Operations per second of a large matrix product in the engine on this machine. */
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
