/** Carries out a plan as a recorded, resumable run that ends with a saved folder. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { runFolderOf } from '../../files/run-folder.ts';
import { requireFree } from '../../files/written-folder.ts';
import { LinnetError, OptionsError } from '../../errors.ts';
import { lockFolder } from '../../files/folder-lock.ts';
import { peakMemoryBytes } from '../../report/provenance.ts';
import { type JsonValue, plainJson, readRun, readRunRecord, recordedWork, type Run } from '../../report/record.ts';
import type { Evaluation, EvaluationPlan } from '../held-out.ts';
import { type TrainingOptions, memoryLimit } from './options.ts';
import { type TrainingSettings, microBatchRows } from '../settings.ts';
import { totalUpdates, train, type TrainingJob, type TrainingOutcome, type UpdateEvent } from '../trainer.ts';
import { writeCurves } from './curves.ts';
import { type TrainingPlan, paceWarning, requireFewSteps } from './plan.ts';
import { fitStep, requireMemory } from '../step-cost.ts';
import type { JsonObject } from '../../files/json-object.ts';

/** The first steps are slower than the others. */
const pacedAfter = 3;

/** A plan before its start. */
export interface PlannedRun {
  /** A description of the data: "12 documents, 3,456 tokens in 7 rows". */
  readonly summary: string;
  /** The run folder. */
  readonly folder: string;
  /** Total optimizer steps. */
  readonly steps: number;
  /** Tokens per optimizer step. */
  readonly stepTokens: number;
  /** Rows per run of the engine. */
  readonly microBatch: number;
  /** Estimated memory at the peak; absent for plans that train in their own way. */
  readonly memoryBytes?: number;
}

/** Watching and stopping a plan; nothing here changes the result. */
export interface TrainingHooks {
  /** Stops after the current optimizer step, with a snapshot; the call then fails with `ABORTED`. */
  readonly signal?: AbortSignal;
  /** The command line, for the record. Default: none. */
  readonly command?: readonly string[];
  /** Called when model and data are loaded. */
  readonly onPlan?: (run: PlannedRun) => void;
  /** Called before the first optimizer step, with the number of steps done before: 0, or the snapshot's. */
  readonly onStart?: (done: number) => void;
  /** Called after every optimizer step. */
  readonly onUpdate?: (event: UpdateEvent) => void;
  /** Called after every measurement on held-out data. */
  readonly onEvaluation?: (evaluation: Evaluation & { readonly isBest: boolean }) => void;
  /** Receives warnings before a long wait: a step that barely fits in memory, a training that takes days. */
  readonly onWarning?: (message: string) => void;
  /** Called when `out` is complete. */
  readonly onSaved?: (out: string) => void;
}

/** The result of a plan. */
export interface TrainingResult<Details extends object = object> {
  /** The folder that was saved. */
  readonly out: string;
  /** The run folder. */
  readonly run: string;
  /** Mean loss of the last tenth of all optimizer steps (at least one), steps before a resume included. */
  readonly loss?: number;
  /** Held-out loss of the saved parameters, if measured. */
  readonly heldOutLoss?: number;
  /** The optimizer step whose parameters were saved, if they are the best and not the last. */
  readonly best?: number;
  /** Optimizer steps done. */
  readonly steps: number;
  /** Tokens seen. */
  readonly tokens: number;
  /** This process's speed without compilation; undefined if it made no step. */
  readonly tokensPerSecond?: number;
  /** This process's time from the start of training to the saved folder. */
  readonly seconds: number;
  /** Further results of the plan. */
  readonly details: Details;
}

/**
 * Trains the plan of `prepare`, records the run and saves the result.
 * @throws LinnetError `PATH` if the result or a run exists or another process has the run folder, `MISMATCH` for resuming
 *   another run, `ABORTED` when the signal fires, and as `prepare` and `train`
 */
export async function runPlan<Details extends object = object>(
  options: TrainingOptions,
  hooks: TrainingHooks,
  settings: TrainingSettings,
  prepare: (settings: TrainingSettings) => Promise<TrainingPlan<Details>>,
): Promise<TrainingResult<Details>> {
  const { out, replace, resume } = options;
  const folder = runFolderOf(options);
  await requireFree(out, replace, folder);
  const requireResume = (): void => {
    if (!isRecorded(folder) || resume) return;
    const kept = replace ? '; `replace` covers only the result: to start over, remove the run' : '';
    throw new LinnetError(
      'PATH',
      `${folder} already holds a run; continue it with \`resume\`, or name another folder with \`run\`${kept}`,
    );
  };
  requireResume();
  await using _lock = await lockFolder(folder);
  requireResume();
  return await recordedTraining(options, hooks, folder, settings, await prepare(settings));
}

function isRecorded(folder: string): boolean {
  return existsSync(join(folder, 'run.json'));
}

async function recordedTraining<Details extends object>(
  options: TrainingOptions,
  hooks: TrainingHooks,
  folder: string,
  given: TrainingSettings,
  plan: TrainingPlan<Details>,
): Promise<TrainingResult<Details>> {
  const { summary, configuration, train: trainPlan, save, heldOutRows, trainedLength, feature, ...trained } = plan;
  const { out, data, heldOut, snapshotEvery, device, threads } = options;
  const stepTokens = given.batch * trained.dataset.length;
  const steps = totalUpdates(trained.dataset, given);
  requireFewSteps(steps);
  if (trainedLength !== undefined && given.length > trainedLength) {
    hooks.onWarning?.(
      `rows have ${given.length} tokens, but the model was trained for ${trainedLength}: later positions are new to it`,
    );
  }
  const limit = memoryLimit(options.memory);
  const recorded = recordedMicroBatch(await resumedConfiguration(options));
  if (given.microBatch !== undefined && recorded !== undefined && given.microBatch !== recorded) {
    throw new LinnetError(
      'MISMATCH',
      `${folder} holds a run with micro-batches of ${recorded} rows, not ${given.microBatch}; leave \`microBatch\` out`,
    );
  }
  const microBatch = given.microBatch ?? recorded;
  const { settings, cost } =
    trainPlan === undefined
      ? fitStep({ ...trained, settings: { ...given, microBatch } }, limit)
      : { settings: given, cost: undefined };
  const planned = { summary, folder, steps, stepTokens, microBatch: microBatchRows(settings) };
  hooks.onPlan?.({ ...planned, memoryBytes: cost?.bytes });
  if (cost !== undefined) requireMemory(cost, settings, limit);
  const { rows, length } = trained.dataset;
  const read = { summary, rows, length, fingerprint: trained.dataset.fingerprint() };
  const { model, origin: weights } = trained;
  const described = plainJson({ model: model.toJson(), weights, settings, data, heldOut, read, ...configuration });
  const description = { command: hooks.command ?? [], configuration: described, seed: settings.seed };
  const started = performance.now();
  const result = await recordedWork(folder, description, async (start) => {
    let run: Run | undefined;
    let made = 0; // in this process
    const evaluation = await evaluationOf(options, heldOutRows, (measured) => {
      run?.log({ update: measured.update, heldOutLoss: measured.loss });
      hooks.onEvaluation?.(measured);
    });
    await using opened = await feature?.open(folder, { device, threads });
    const job: TrainingJob = {
      ...trained,
      settings,
      feature: opened,
      evaluation,
      snapshots: { folder: join(folder, 'snapshots'), every: snapshotEvery },
      compile: { device, threads },
      signal: hooks.signal,
      async onStart(done) {
        // A run that falls back to a snapshot repeats the later measurements.
        run = await start(({ update }) => Number(update) <= done);
        hooks.onStart?.(done);
      },
      onUpdate(event) {
        const { update, loss, gradientNorm, learningRate, seconds } = event;
        run?.log({ update, loss, gradientNorm, learningRate, tokens: stepTokens * update, seconds });
        const slow = ++made === pacedAfter ? paceWarning(seconds, steps - update) : undefined;
        if (slow !== undefined) hooks.onWarning?.(slow);
        hooks.onUpdate?.(event);
      },
    };
    const outcome = await sameRun(folder, described, () => trainPlan?.(job, folder) ?? train(job));
    if (!outcome.finished) {
      const state =
        outcome.updates > 0 ? `optimizer step ${outcome.updates} is saved in ${folder}` : 'nothing was trained yet';
      throw new LinnetError('ABORTED', `stopped; ${state}. To continue, run the same again with \`resume\``);
    }
    const details = await save(out, outcome.parameters);
    await opened?.remove();
    const { loss, updates, tokens, tokensPerSecond, best } = outcome;
    const seconds = (performance.now() - started) / 1000;
    const heldOutLoss = (best ?? outcome.evaluations.at(-1))?.loss;
    const numbers = { loss, heldOutLoss, best: best?.update, steps: updates, tokens, tokensPerSecond, seconds };
    run?.report({ ...plainJson(numbers), peakMemoryBytes: peakMemoryBytes() });
    return { ...numbers, out, run: folder, details };
  });
  await writeCurves(folder);
  hooks.onSaved?.(out);
  return result;
}

/** The recorded configuration of a resumed run, else empty. */
export async function resumedConfiguration(options: TrainingOptions): Promise<Readonly<Record<string, JsonValue>>> {
  const folder = runFolderOf(options);
  return options.resume && isRecorded(folder) ? (await readRunRecord(folder)).configuration : {};
}

/** A resumed run's micro-batch, which must give the same sums. */
export function recordedMicroBatch({ settings }: Readonly<Record<string, JsonValue>>): number | undefined {
  return z.looseObject({ microBatch: z.int().optional() }).safeParse(settings).data?.microBatch;
}

/** The held-out evaluation; undefined if not asked for. @throws OptionsError without held-out data */
async function evaluationOf(
  { evaluateEvery: every, patience, keep, heldOut }: TrainingOptions,
  rows: TrainingPlan['heldOutRows'],
  onEvaluation: EvaluationPlan['onEvaluation'],
): Promise<EvaluationPlan | undefined> {
  if (every === undefined) {
    if (patience === undefined) return undefined;
    throw new OptionsError('`patience` counts held-out measurements; set their interval with `evaluateEvery`');
  }
  if (heldOut === 0 || rows === undefined) {
    throw new OptionsError('`evaluateEvery` needs held-out data; set its amount with `heldOut`');
  }
  return { ...(await rows()), every, patience, keep, onEvaluation };
}

/** Trains; a refusal to resume also lists the settings that differ from the record. */
async function sameRun(
  folder: string,
  described: Readonly<Record<string, JsonValue>>,
  work: () => Promise<TrainingOutcome>,
): Promise<TrainingOutcome> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof LinnetError) || error.code !== 'MISMATCH' || !isRecorded(folder)) throw error;
    const differences = await describeDifferences(folder, described);
    if (differences === '') throw error;
    throw new LinnetError('MISMATCH', `${error.message}\n${differences}`, { cause: error });
  }
}

const mostListed = 12;
const mostShown = 60;

/**
 * The fields that differ from a folder's record, one per line: "settings.clip: was 1, is 0.5". Empty without differences
 * or a readable record.
 */
async function describeDifferences(folder: string, configuration: JsonObject): Promise<string> {
  const recorded = await readRun(folder).catch(() => undefined);
  if (recorded === undefined) return '';
  const before = leaves(recorded.record.configuration);
  const now = leaves(configuration);
  // Settings that a resumed run may change.
  const free = new Set(['settings.steps', 'settings.epochs', 'settings.microBatch']);
  const changed = [...new Set([...before.keys(), ...now.keys()])].filter(
    (key) => before.get(key) !== now.get(key) && !free.has(key),
  );
  const lines = changed
    .slice(0, mostListed)
    .map((key) => `${key}: was ${shown(before.get(key))}, is ${shown(now.get(key))}`);
  if (changed.length > mostListed) lines.push(`and ${changed.length - mostListed} more`);
  return lines.join('\n');
}

function shown(value: string | undefined): string {
  if (value === undefined) return 'not set';
  return value.length <= mostShown ? value : `${value.slice(0, mostShown)}…`;
}

/** Leaf fields by path; a list counts as one value. */
function leaves(value: object, prefix = ''): Map<string, string> {
  return new Map(
    Object.entries(value).flatMap(([key, field]: [string, unknown]): [string, string][] => {
      const isGroup = typeof field === 'object' && field !== null && !Array.isArray(field);
      return isGroup ? [...leaves(field, `${prefix}${key}.`)] : [[`${prefix}${key}`, JSON.stringify(field)]];
    }),
  );
}
