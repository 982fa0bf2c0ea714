/** Training without files: batches in, optimizer steps out. `train` of Node adds snapshots and evaluation; pages run it alone. */
import { type Batch, type BatchCursor, batchStream } from '../data/rows/batches.ts';
import type { BatchTensors, RowSource } from '../data/rows/row-dataset.ts';
import { LinnetError } from '../errors.ts';
import { elementCount, tensor, type WeightMap, type Weights } from '../graph/tensor.ts';
import { blockTensor, joinParameterBlocks } from './parameter-blocks.ts';
import { type TrainingSettings, learningRate, microBatchRows, warmupSteps } from './settings.ts';
import { initialState, type StepJob, type TrainingProgram, type TrainingState } from './step-program.ts';

/** Results of one optimizer step. */
export interface UpdateEvent {
  /** Counted from 1. */
  readonly update: number;
  /** Optimizer steps that were asked for. */
  readonly total: number;
  /** Mean of the objective over the predictions of the batch, before the optimizer step. */
  readonly loss: number;
  readonly gradientNorm: number;
  readonly learningRate: number;
  /** Tokens in this optimizer step. */
  readonly tokens: number;
  /** Wall time of this optimizer step. */
  readonly seconds: number;
}

/** Numbers per row of a data set that an objective reads next to the tokens: hidden states computed before, say. */
export interface RowFeature {
  /** The name of the graph input. */
  readonly name: string;
  /** Shape of one row's numbers. */
  readonly shape: readonly number[];
  /** Copies the numbers of a row into `target`. */
  copyRow(row: number, target: Float32Array): Promise<void>;
}

/** A feature kept for later passes over the rows. After disposal its file remains for a resumed run. */
export interface KeptFeature extends RowFeature, AsyncDisposable {
  /** Deletes the file, if there is one: the run has ended. */
  remove(): Promise<void>;
}

/** The model to train, its data and its settings. */
export interface LoopJob extends StepJob {
  /** The rows that batches are made of. */
  readonly dataset: RowSource;
  /** A further input of the objective next to the data set's. */
  readonly feature?: RowFeature;
}

/** How many optimizer steps a job makes. @throws LinnetError `INPUT` if the data is too small for one batch */
export function totalUpdates(dataset: Pick<RowSource, 'rows' | 'length'>, settings: TrainingSettings): number {
  if (settings.steps !== undefined) return settings.steps;
  const total = Math.floor((dataset.rows * settings.epochs) / settings.batch);
  if (total > 0) return total;
  throw new LinnetError(
    'INPUT',
    `${dataset.rows} rows of ${dataset.length} tokens do not fill a batch of ${settings.batch}; give a smaller batch or length, or set steps`,
  );
}

export interface LoopStart {
  readonly state: TrainingState;
  /** Optimizer steps done. */
  readonly update: number;
  /** Default: the first batch. */
  readonly cursor?: BatchCursor;
}

/**
 * The optimizer steps of a job, one after the other.
 * @param program the job's program
 */
export function updatesOf(job: LoopJob, program: TrainingProgram, { state, update, cursor }: LoopStart) {
  const { settings, dataset, feature } = job;
  const total = totalUpdates(dataset, settings);
  const batchSize = microBatchRows(settings);
  const stream = batchStream(dataset, { batchSize, seed: settings.seed }, cursor);
  const warmup = warmupSteps(settings, total);
  const schedule = { name: settings.schedule, peak: settings.learningRate, warmup, total };
  let done = update;
  return {
    /** Optimizer steps of the whole run. */
    total,
    /** Parameters and moments; every optimizer step replaces them. */
    state,
    /** Optimizer steps done so far. */
    get done() {
      return done;
    },
    /** Where the stream of batches stands. */
    get cursor() {
      return stream.state;
    },
    /**
     * Makes the next optimizer step.
     * @throws LinnetError `RUNTIME` if the loss or the gradient is not finite, and the engine's errors
     */
    async next(): Promise<UpdateEvent> {
      const started = performance.now();
      const rate = learningRate(schedule, done);
      const batches: BatchTensors[] = [];
      const count = settings.batch / batchSize;
      for (let i = 0; i < count; i++) batches.push(await withFeature(stream.next(), feature));
      const result = await program.step(state, batches, rate, done);
      const seconds = (performance.now() - started) / 1000;
      if (!Number.isFinite(result.loss) || !Number.isFinite(result.gradientNorm)) {
        throw new LinnetError(
          'RUNTIME',
          `the loss is ${result.loss} at update ${done + 1}; lower the learning rate or clip gradients`,
        );
      }
      done++;
      const tokens = settings.batch * dataset.length;
      return { update: done, total, ...result, learningRate: rate, tokens, seconds };
    },
  };
}

/** Where a run begins: the parameters of the job, and no moments. */
export function startingState(job: LoopJob, program: TrainingProgram): TrainingState {
  const blocks: WeightMap = new Map();
  for (const block of program.blocks) {
    const parameter = job.parameters.get(block.parameter);
    if (parameter === undefined) throw new LinnetError('TENSOR', `parameter "${block.parameter}" is missing`);
    blocks.set(block.name, blockTensor(block, parameter));
  }
  return initialState(program.blocks, blocks);
}

/** All parameters of the model: the trained ones of a state, and the frozen ones. */
export function allParameters(
  job: LoopJob,
  program: TrainingProgram,
  state: { readonly parameters: Weights },
): WeightMap {
  const trained = joinParameterBlocks(program.blocks, state.parameters, job.model.parameters);
  const all: WeightMap = new Map();
  for (const name of job.model.parameters.keys()) {
    const value = trained.get(name) ?? job.parameters.get(name);
    if (value !== undefined) all.set(name, value);
  }
  return all;
}

/** The arrays of a batch, with the feature's numbers of its rows. */
async function withFeature({ values, visits }: Batch, feature: RowFeature | undefined): Promise<BatchTensors> {
  if (feature === undefined) return values;
  const size = elementCount(feature.shape);
  const data = new Float32Array(visits.length * size);
  for (const [place, { row }] of visits.entries()) {
    await feature.copyRow(row, data.subarray(place * size, (place + 1) * size));
  }
  return { ...values, [feature.name]: tensor('float32', [visits.length, ...feature.shape], data) };
}

/** @throws LinnetError `CONFIG` if the data set lacks an input of the objective */
export function assertInputs({ objective, dataset, feature }: LoopJob): void {
  for (const [name, { dtype, shape }] of Object.entries(objective.inputs)) {
    if (name === feature?.name) continue;
    const input = Object.hasOwn(dataset.inputs, name) ? dataset.inputs[name] : undefined;
    if (input?.dtype === dtype && String(input.shape) === String(shape)) continue;
    const found = input === undefined ? 'nothing with that name' : `${input.dtype} [${input.shape.join(',')}]`;
    throw new LinnetError(
      'CONFIG',
      `the objective reads "${name}", ${dtype} [${shape.join(',')}] per row; the data set gives ${found}`,
    );
  }
}
