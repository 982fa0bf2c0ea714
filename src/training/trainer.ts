/** The training loop: batches in, optimizer steps out, snapshots on the way, and a clean stop on request. */
import { makeFolder } from '../files/atomic.ts';
import { setImmediate } from 'node:timers/promises';
import type { RowDataset } from '../data/rows/row-dataset.ts';
import { LinnetError } from '../errors.ts';
import type { WeightMap, Weights } from '../graph/tensor.ts';
import type { ModelDescription } from '../models/model.ts';
import { compile, type CompileOptions } from '../runtime/compile.ts';
import type { GraphCompiler } from '../runtime/program.ts';
import { bestParameters, type Evaluation, type EvaluationPlan, heldOutLoss, isExhausted } from './held-out.ts';
import { average } from '../report/statistics.ts';
import { runsLean } from './step-cost.ts';
import { readSnapshot, type SnapshotPosition, writeSnapshot } from './snapshot.ts';
import { compileTraining } from './step-program.ts';
import {
  allParameters,
  assertInputs,
  type LoopJob,
  startingState,
  totalUpdates,
  type UpdateEvent,
  updatesOf,
} from './updates.ts';
import { sha256 } from '../files/digest.ts';
import type { JsonObject } from '../files/json-object.ts';

export { type RowFeature, totalUpdates, type UpdateEvent } from './updates.ts';

/** A training run: model, data, objective, settings and snapshot folder. */
export interface TrainingJob extends LoopJob {
  /** Names and shapes of all parameters, and the configuration that a resumed run must agree with. */
  readonly model: Pick<ModelDescription, 'parameters' | 'toJson'>;
  /** Identity of `parameters`, such as the fingerprint of their checkpoint; a resumed run must have the same. */
  readonly origin?: string;
  /** The rows that batches are made of. */
  readonly dataset: RowDataset;
  /** Further identity of a run that a resumed one must match, as plain JSON. */
  readonly variant?: JsonObject;
  /** Where snapshots go and how often they are written; without it the run cannot be resumed. */
  readonly snapshots?: { readonly folder: string; readonly every: number };
  /** Threads and device. Default: all cores of the CPU. */
  readonly compile?: CompileOptions;
  /** Measurements on held-out data on the way. */
  readonly evaluation?: EvaluationPlan;
  /** Stops after the current optimizer step, with a snapshot. */
  readonly signal?: AbortSignal;
  /** Called once before the first update, with the number of optimizer steps already done: 0, or the snapshot's. */
  readonly onStart?: (update: number) => void | Promise<void>;
  /** Called after every optimizer step, and awaited; `current` gives the parameters at that step. */
  readonly onUpdate?: (event: UpdateEvent, current: () => Weights) => void | Promise<void>;
}

/** The result of a run. */
export interface TrainingOutcome {
  /** All parameters, trained and frozen. */
  readonly parameters: WeightMap;
  /** Optimizer steps done, including steps before a resume. */
  readonly updates: number;
  /** Optimizer steps that were asked for. */
  readonly total: number;
  /** False if the signal stopped the run. */
  readonly finished: boolean;
  /** The loss of every optimizer step, including steps before a resume. */
  readonly losses: readonly number[];
  /** Mean of the last tenth of `losses` (at least one); undefined if there was none. */
  readonly loss?: number;
  /** Tokens per second of this process, the compilation left out. */
  readonly tokensPerSecond?: number;
  /** Tokens seen since the beginning of the run. */
  readonly tokens: number;
  /** Measurements on held-out data, in order. */
  readonly evaluations: readonly Evaluation[];
  /** The optimizer step of these parameters, if not the last one. */
  readonly best?: Evaluation;
}

/** Identity of a run, which its snapshots must match. Settings of speed and intervals (threads, snapshots) do not count. */
function runIdentity({ model, origin, dataset, settings, variant }: TrainingJob): string {
  // More steps change only the end of a run, and the fall of its rate from here on. The
  // micro-batch follows from the memory.
  const fixed = { ...settings, steps: undefined, epochs: undefined, microBatch: undefined };
  const described = { model: model.toJson(), origin, data: dataset.fingerprint(), settings: fixed, variant };
  return sha256(JSON.stringify(described));
}

/**
 * Trains, or continues from the newest snapshot if `snapshots.folder` holds one.
 *
 * @throws LinnetError `MISMATCH` if the snapshot is of another run, `INPUT` for too little data, `RUNTIME` if a loss is
 *   not finite
 */
export async function train(job: TrainingJob): Promise<TrainingOutcome> {
  const { settings, snapshots, signal } = job;
  const total = totalUpdates(job.dataset, settings);
  const { device = 'cpu' } = job.compile ?? {};
  const lean = job.compile?.lean ?? runsLean(job.model.parameters, device);
  const formed = { ...job, keepFrozen: device !== 'cpu' };
  const compiler: GraphCompiler = (graph) => compile(graph, { ...job.compile, lean });
  assertInputs(job);
  await using program = await compileTraining(formed, compiler);
  const identity = runIdentity(job);
  if (snapshots !== undefined) await makeFolder(snapshots.folder);
  const resumed = snapshots && (await readSnapshot(snapshots.folder, program.blocks, identity));
  const state = resumed?.state ?? startingState(job, program);
  const updates = updatesOf(job, program, {
    state,
    update: resumed?.position.update ?? 0,
    cursor: resumed?.position.cursor,
  });
  let position: SnapshotPosition = resumed?.position ?? { update: 0, cursor: updates.cursor, tokens: 0, losses: [] };
  if (position.update > total) {
    throw new LinnetError(
      'MISMATCH',
      `the newest snapshot has done ${position.update} optimizer steps, more than the ${total} of this run; set \`steps\` to at least ${position.update}`,
    );
  }
  await job.onStart?.(position.update);
  const losses = [...position.losses];
  const evaluations = [...(position.evaluations ?? [])];
  const measures = job.evaluation;
  await using heldOut = measures && (await heldOutLoss(formed, measures, program.blocks, compiler));
  const best = bestParameters(measures, snapshots?.folder, program.blocks);
  await best.restore(evaluations);
  let seconds = 0;
  let tokens = 0;
  const isDone = (): boolean => position.update >= total || isExhausted(evaluations, measures?.patience);
  const save = async (): Promise<void> => {
    if (snapshots !== undefined) {
      await best.snapshot(() => writeSnapshot(snapshots.folder, position, state, identity));
    }
  };
  while (!isDone() && signal?.aborted !== true) {
    const event = await updates.next();
    seconds += event.seconds;
    tokens += event.tokens;
    losses.push(event.loss);
    position = {
      update: event.update,
      cursor: updates.cursor,
      tokens: position.tokens + event.tokens,
      losses,
      evaluations,
    };
    await job.onUpdate?.(event, () => allParameters(job, program, state));
    const isDue = position.update % (measures?.every ?? Infinity) === 0 || position.update === total;
    if (heldOut !== undefined && isDue) {
      const measured = { update: position.update, loss: await heldOut.measure(state.parameters) };
      evaluations.push(measured);
      await best.take(measured, state.parameters, evaluations);
    }
    if (isDone() || position.update % (snapshots?.every ?? Infinity) === 0) await save();
    // Runs block this thread: give signals and timers a turn.
    await setImmediate();
  }
  const finished = isDone();
  if (!finished && position.update > 0) await save();
  const recent = losses.slice(-Math.max(1, Math.ceil(losses.length / 10)));
  return {
    parameters: allParameters(job, program, { parameters: best.kept?.parameters ?? state.parameters }),
    updates: position.update,
    total,
    evaluations,
    best: best.kept?.measured,
    finished,
    losses,
    loss: recent.length === 0 ? undefined : average(recent),
    tokensPerSecond: seconds === 0 ? undefined : tokens / seconds,
    tokens: position.tokens,
  };
}
