/** The training loop: batches in, optimizer steps out, snapshots on the way, and a clean stop on request. */
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { type Batch, BatchStream } from '../data/batches.ts';
import type { BatchTensors, RowDataset } from '../data/row-dataset.ts';
import { LinnetError } from '../errors.ts';
import { elementCount, type Tensor, tensor } from '../graph/tensor.ts';
import type { ModelDescription } from '../models/model.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { BestParameters } from './best-parameters.ts';
import { type Evaluation, type EvaluationPlan, HeldOutLoss, isExhausted } from './held-out.ts';
import { blockTensor, joinBlocks } from './parameter-blocks.ts';
import { learningRate } from './schedule.ts';
import { microBatchRows, type TrainingSettings, warmupSteps } from './settings.ts';
import { readSnapshot, type SnapshotPosition, writeSnapshot } from './snapshot.ts';
import type { Objective } from './objectives/next-token.ts';
import { initialState, type TrainingOptions, TrainingProgram, type TrainingState } from './step-program.ts';

/** What happened in one optimizer step. */
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

/** A training run: model, data, objective, settings, and where it keeps its snapshots. */
export interface TrainingJob {
  /** Names and shapes of all parameters, and the configuration that a resumed run must agree with. */
  readonly model: Pick<ModelDescription, 'parameters' | 'toJson'>;
  /** The loss. */
  readonly objective: Objective;
  /** Where training starts. Not written to. */
  readonly parameters: ReadonlyMap<string, Tensor<'float32'>>;
  /** What tells `parameters` from others, such as the fingerprint of their checkpoint; a resumed run must have the same. */
  readonly origin?: string;
  /** The rows that batches are made of. */
  readonly dataset: RowDataset;
  /** Steps, rates, batch, length and the rest, with defaults filled in. */
  readonly settings: TrainingSettings;
  /** Which parameters are trained; default all. */
  readonly trainable?: (name: string) => boolean;
  /** What the objective reads next to what the data set gives. */
  readonly feature?: RowFeature;
  /** What else a resumed run must agree on, as plain JSON. */
  readonly variant?: Readonly<Record<string, unknown>>;
  /** What the learning rate of a parameter is multiplied by; default 1. */
  readonly rateFactor?: (parameter: string) => number;
  /** Where snapshots go and how often they are written; without it the run cannot be resumed. */
  readonly snapshots?: { readonly folder: string; readonly every: number };
  /** Threads and device. Default: all cores of the CPU. */
  readonly compile?: CompileOptions;
  /** What is measured on held-out data on the way. */
  readonly evaluation?: EvaluationPlan;
  /** Stops after the optimizer step at hand, with a snapshot. */
  readonly signal?: AbortSignal;
  /** called once before the first optimizer step, with the optimizer steps already done: 0, or those of the snapshot. */
  readonly onStart?: (update: number) => void | Promise<void>;
  /** Called after every optimizer step, and awaited; `current` gives the parameters as they are then. */
  readonly onUpdate?: (
    event: UpdateEvent,
    current: () => ReadonlyMap<string, Tensor<'float32'>>,
  ) => void | Promise<void>;
}

/** What a run came to. */
export interface TrainingOutcome {
  /** All parameters, trained and frozen. */
  readonly parameters: Map<string, Tensor<'float32'>>;
  /** Optimizer steps done, those before a resume included. */
  readonly updates: number;
  readonly total: number;
  /** False if the signal stopped the run. */
  readonly finished: boolean;
  /** Mean loss of the last tenth of the optimizer steps (at least one), those before a resume included; undefined if there was none. */
  readonly loss?: number;
  /** Tokens per second of this process, the compilation left out. */
  readonly tokensPerSecond?: number;
  /** Tokens seen since the beginning of the run. */
  readonly tokens: number;
  /** What was measured on held-out data, in order. */
  readonly evaluations: readonly Evaluation[];
  /** The optimizer step whose parameters these are, where they are not those of the last one. */
  readonly best?: Evaluation;
}

/** How many optimizer steps a job makes. @throws LinnetError `INPUT` if the data is too small for one batch */
export function totalUpdates(dataset: Pick<RowDataset, 'rows' | 'length'>, settings: TrainingSettings): number {
  if (settings.steps !== undefined) return settings.steps;
  const total = Math.floor((dataset.rows * settings.epochs) / settings.batch);
  if (total > 0) return total;
  throw new LinnetError(
    'INPUT',
    `${dataset.rows} rows of ${dataset.length} tokens are less than one batch of ${settings.batch}; use a smaller batch or length, or name steps`,
  );
}

/** What a snapshot must agree with. Settings that only say how fast or how often (threads, snapshots) do not count. */
function runIdentity({
  model,
  origin,
  dataset,
  settings,
  variant,
}: Pick<TrainingJob, 'model' | 'origin' | 'dataset' | 'settings' | 'variant'>): string {
  // A run may be given more steps: how many there are says only where it ends, and how the rate falls from here on.
  const fixed = { ...settings, steps: undefined, epochs: undefined };
  const described = { model: model.toJson(), origin, data: dataset.fingerprint(), settings: fixed, variant };
  return createHash('sha256').update(JSON.stringify(described)).digest('hex');
}

/**
 * Trains, or continues from the newest snapshot if `snapshots.folder` holds one.
 *
 * @throws LinnetError `MISMATCH` if the snapshot is of another run, `INPUT` for too little data, `RUNTIME` if a loss is
 *   not finite
 * @example
 * ```ts
 * const { parameters } = await train(job);
 * ```
 */
export async function train(job: TrainingJob): Promise<TrainingOutcome> {
  const { model, dataset, settings, snapshots, signal } = job;
  const total = totalUpdates(dataset, settings);
  const rows = microBatchRows(settings);
  const accumulate = settings.batch / rows;
  const updateTokens = settings.batch * dataset.length;
  assertInputs(job);
  const options: TrainingOptions = {
    parameters: model.parameters,
    objective: job.objective,
    rows,
    accumulate,
    optimizer: settings,
    clip: settings.clip === 0 ? undefined : settings.clip,
    trainable: job.trainable,
    frozen: job.trainable === undefined ? undefined : job.parameters,
    rateFactor: job.rateFactor,
    compile: job.compile,
  };
  const program = await TrainingProgram.create(options);
  let heldOut: HeldOutLoss | undefined;
  try {
    const identity = runIdentity(job);
    if (snapshots !== undefined) await mkdir(snapshots.folder, { recursive: true });
    const resumed =
      snapshots === undefined ? undefined : await readSnapshot(snapshots.folder, program.blocks, identity);
    const state = resumed?.state ?? startingState(job, program);
    const order = { batchSize: rows, seed: settings.seed };
    const stream =
      resumed === undefined
        ? new BatchStream(dataset, order)
        : BatchStream.fromState(dataset, order, resumed.position.cursor);
    let position: SnapshotPosition = resumed?.position ?? { update: 0, cursor: stream.state, tokens: 0, losses: [] };
    if (position.update > total) {
      throw new LinnetError(
        'MISMATCH',
        `the newest snapshot has done ${position.update} optimizer steps, and the run is to have ${total}; ask for as many or more`,
      );
    }
    await job.onStart?.(position.update);
    const losses = [...position.losses];
    const evaluations = [...(position.evaluations ?? [])];
    if (job.evaluation !== undefined) {
      const { dataset: rowsHeldOut, objective } = job.evaluation;
      heldOut = await HeldOutLoss.create({ ...options, objective }, program.blocks, rowsHeldOut);
    }
    const best = new BestParameters(job, program.blocks);
    await best.restore(evaluations);
    let seconds = 0;
    let tokens = 0;
    const warmup = warmupSteps(settings, total);
    const schedule = { name: settings.schedule, peak: settings.learningRate, warmup, total };
    const isDone = (): boolean => position.update >= total || isExhausted(evaluations, job.evaluation?.patience);
    while (!isDone() && signal?.aborted !== true) {
      const started = performance.now();
      const rate = learningRate(schedule, position.update);
      const batches: BatchTensors[] = [];
      for (let i = 0; i < accumulate; i++) batches.push(await withFeature(nextBatch(stream), job.feature));
      const result = await program.step(state, batches, rate, position.update);
      const elapsed = (performance.now() - started) / 1000;
      seconds += elapsed;
      tokens += updateTokens;
      losses.push(result.loss);
      if (!Number.isFinite(result.loss) || !Number.isFinite(result.gradientNorm)) {
        throw new LinnetError(
          'RUNTIME',
          `the loss is ${result.loss} at update ${position.update + 1}; lower the learning rate, or clip`,
        );
      }
      position = {
        update: position.update + 1,
        cursor: stream.state,
        tokens: position.tokens + updateTokens,
        losses,
        evaluations,
      };
      const event = {
        update: position.update,
        total,
        ...result,
        learningRate: rate,
        tokens: updateTokens,
        seconds: elapsed,
      };
      await job.onUpdate?.(event, () => allParameters(job, program, state));
      if (heldOut !== undefined && isMeasured(job.evaluation, position.update, total)) {
        const measured = { update: position.update, loss: await heldOut.measure(state.parameters) };
        evaluations.push(measured);
        await best.take(measured, state.parameters, evaluations);
      }
      const due = snapshots !== undefined && (position.update % snapshots.every === 0 || isDone());
      if (due) await best.snapshot(() => writeSnapshot(snapshots.folder, position, state, identity));
      // Runs block this thread: give signals and timers a turn.
      await setImmediate();
    }
    const finished = isDone();
    if (!finished && snapshots !== undefined && position.update > 0) {
      await best.snapshot(() => writeSnapshot(snapshots.folder, position, state, identity));
    }
    const recent = losses.slice(-Math.max(1, Math.ceil(losses.length / 10)));
    return {
      parameters: allParameters(job, program, { parameters: best.kept?.parameters ?? state.parameters }),
      updates: position.update,
      total,
      evaluations,
      best: best.kept?.measured,
      finished,
      loss: recent.length === 0 ? undefined : recent.reduce((a, b) => a + b, 0) / recent.length,
      tokensPerSecond: seconds === 0 ? undefined : tokens / seconds,
      tokens: position.tokens,
    };
  } finally {
    await heldOut?.dispose();
    await program.dispose();
  }
}

function isMeasured(plan: EvaluationPlan | undefined, update: number, total: number): boolean {
  return plan !== undefined && (update % plan.every === 0 || update === total);
}

function startingState(job: TrainingJob, program: TrainingProgram): TrainingState {
  const blocks = new Map<string, Tensor<'float32'>>();
  for (const block of program.blocks) {
    const parameter = job.parameters.get(block.parameter);
    if (parameter === undefined) throw new LinnetError('TENSOR', `parameter "${block.parameter}" is missing`);
    blocks.set(block.name, blockTensor(block, parameter));
  }
  return initialState(program.blocks, blocks);
}

function allParameters(
  job: TrainingJob,
  program: TrainingProgram,
  state: { readonly parameters: ReadonlyMap<string, Tensor<'float32'>> },
): Map<string, Tensor<'float32'>> {
  const trained = joinBlocks(program.blocks, state.parameters, job.model.parameters);
  const all = new Map<string, Tensor<'float32'>>();
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

/** @throws LinnetError `CONFIG` if the objective reads what the data set does not give */
function assertInputs({ objective, dataset, feature }: TrainingJob): void {
  for (const [name, { dtype, shape }] of Object.entries(objective.inputs)) {
    if (name === feature?.name) continue;
    const given = Object.hasOwn(dataset.inputs, name) ? dataset.inputs[name] : undefined;
    if (given?.dtype === dtype && String(given.shape) === String(shape)) continue;
    const found = given === undefined ? 'nothing of that name' : `${given.dtype} [${given.shape.join(',')}]`;
    throw new LinnetError(
      'CONFIG',
      `the objective reads "${name}", ${dtype} [${shape.join(',')}] a row; the data set gives ${found}`,
    );
  }
}

function nextBatch(stream: BatchStream): Batch {
  const { value } = stream.next();
  if (value === undefined) throw new LinnetError('INTERNAL', 'internal: the endless batch stream ended');
  return value;
}
