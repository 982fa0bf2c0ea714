/** Runs studies trial by trial, here or on other machines, continues stopped ones and reports results. */
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { LinnetError, requireRunning, type Stoppable } from '../../errors.ts';
import { writeFileAtomic } from '../../files/atomic.ts';
import { lockFolder } from '../../files/folder-lock.ts';
import type { JsonObject } from '../../files/json-object.ts';
import { validated } from '../../files/schema-problems.ts';
import { type Job, type JobHandler, runJobs } from '../../jobs/queue.ts';
import { LastOpened } from '../../jobs/last-opened.ts';
import { isInShare, openResults, requireOneWay, type ResultStore, type Share } from '../../jobs/result-store.ts';
import { formatFixed } from '../../report/quantities.ts';
import { plainJson, recordedWork, type Run } from '../../report/record.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { printedReport, writeResults } from './study-report.ts';
import {
  type ModelCheck,
  parsePlan,
  placeWords,
  type PlanSource,
  planSource,
  type StudyDefinition,
  type TrialHooks,
  type TrialPlace,
  trialName,
  type TrialUpdate,
} from './study.ts';
import { measuredOf, openTrials, readKnownTrials } from './trial-store.ts';

export interface RunTrialsOptions<Trial> extends Stoppable, Pick<TrialHooks, 'memory' | 'compile'> {
  /** Where results are kept. Default: nowhere. */
  readonly store?: Awaited<ReturnType<typeof openTrials>>;
  /** A file with results of other runs, a JSON object a line. */
  readonly known?: string;
  /** Runs the trials on other machines, which take them from a queue in the Redis of this URL. */
  readonly queue?: { readonly url: string; readonly planFile: string };
  /** Results that machines give each other: open trials are looked up there, measured ones are kept there. */
  readonly results?: ResultStore;
  /** Runs only this part of the trials. */
  readonly share?: Share;
  /** Optimizer steps between two snapshots of a trial. Default 200. */
  readonly snapshotEvery?: number;
  readonly onUpdate?: (trial: Trial, update: TrialUpdate, done: number) => void;
}

/** Where and how a study is run. */
export interface RunStudyOptions
  extends Pick<
    RunTrialsOptions<never>,
    'memory' | 'compile' | 'signal' | 'snapshotEvery' | 'queue' | 'known' | 'share'
  > {
  /** A folder or `s3://bucket/prefix` of results (`openResults`). */
  readonly resultStore?: string;
  /** The folder of results; without one nothing is kept. */
  readonly out?: string;
  /** The command line, for the record and the page. */
  readonly command: readonly string[];
  readonly note: (line: string) => void;
  readonly onProgress: (done: number, total: number, info?: string) => void;
}

/** Output of a study: for people, for machines, and whether its answer is no. */
export interface FinishedStudy {
  readonly text: string;
  readonly json: JsonObject;
  readonly negative: boolean;
}

/** How a worker runs trials. */
export interface HandlerOptions extends Pick<TrialHooks, 'memory' | 'compile'> {
  readonly check?: ModelCheck;
}

/** A study whose types are forgotten. */
export interface AnyStudy {
  readonly definition: Pick<
    StudyDefinition<object, unknown, TrialPlace, object>,
    'name' | 'description' | 'examples' | 'plan'
  >;
  run(given: unknown, source: PlanSource, options: RunStudyOptions): Promise<FinishedStudy>;
  handler(options: HandlerOptions): JobHandler;
}

/** Names the jobs. */
export const studyTrialKind = 'study-trial';

const jobSchema = z.strictObject({
  study: z.string().max(32),
  /** The plan as it was read, and the file from whose folder its paths count. */
  plan: z.json(),
  planFile: z.string().max(4096),
  /** Which trial of the plan. */
  identity: z.string().max(128),
  snapshotEvery: z.int().min(1),
});

/** The job of a trial. @throws LinnetError `INPUT` for any other */
export function trialJob(data: unknown): z.output<typeof jobSchema> {
  return validated(jobSchema, data, 'INPUT', 'the job is not a trial of a study');
}

/** A study that can be run. */
export function studyOf<Plan extends object, Trial, Place extends TrialPlace, Measured extends object>(
  definition: StudyDefinition<Plan, Trial, Place, Measured>,
) {
  const { name, place: placeOf, identity, measured: schema } = definition;
  const wordsOf = (trial: Trial): string => placeWords(placeOf(trial)).join(', ');

  /**
   * Loads a plan with everything that it names. Dispose of it.
   * @throws LinnetError `CONFIG` naming all wrong fields, and as `load`
   */
  async function open(given: unknown, source: PlanSource = planSource(), compile?: CompileOptions) {
    const plan = parsePlan(definition, given, source.name);
    const loaded = await definition.load(plan, source, compile);
    const { trials } = loaded;

    /**
     * Runs the trials without a result. A stopped study continues when called again: within a trial from its
     * newest snapshot.
     * @param onResult called for every result; `isKnown` if it was measured before
     * @returns results in the order of the plan
     * @throws LinnetError `ABORTED` when the signal fires, `MISMATCH` for results of another plan in the folder, and as `runJobs`
     */
    async function runTrials(
      options: RunTrialsOptions<Trial> = {},
      onResult?: (at: { readonly trial: Trial; readonly measured: Measured }, isKnown: boolean, done: number) => void,
    ): Promise<(Place & Measured)[]> {
      const {
        store,
        known,
        queue,
        results: shared,
        share,
        snapshotEvery = 200,
        compile,
        memory,
        signal,
        onUpdate,
      } = options;
      const others = known === undefined ? undefined : await readKnownTrials(known);
      const results: ((Place & Measured) | undefined)[] = [];
      const missing: number[] = [];
      let done = 0;
      const jobOf = async (at: number, others: JsonObject = {}): Promise<Job> => ({
        kind: studyTrialKind,
        title: `trial ${wordsOf(trials[at])}`,
        data: { study: name, ...others, identity: await identity(trials[at]) },
      });
      const take = async (at: number, measured: Measured, isKnown: boolean): Promise<void> => {
        const place = placeOf(trials[at]);
        if (!isKnown) await store?.store(place, await identity(trials[at]), measured);
        results[at] = { ...place, ...measured };
        onResult?.({ trial: trials[at], measured }, isKnown, ++done);
      };
      for (const [at, trial] of trials.entries()) {
        if (!isInShare(at, share)) continue;
        const place = placeOf(trial);
        const stored = await store?.find(place, () => identity(trial), schema);
        const other = stored === undefined ? others?.get(await identity(trial)) : undefined;
        const found = stored ?? (other && measuredOf(other, place, schema, known ?? ''));
        const kept = await shared?.find(await jobOf(at));
        if (found !== undefined) {
          if (kept === undefined) await shared?.keep(await jobOf(at), found);
          await take(at, found, true);
        } else if (kept !== undefined) {
          const wrong = "the result store holds something other than a trial's result";
          await take(at, validated(schema, kept, 'FORMAT', wrong), false);
        } else missing.push(at);
      }
      if (queue !== undefined) {
        const planned = { plan: given, planFile: resolve(queue.planFile), snapshotEvery };
        const wrong = "the queue holds something other than a trial's result";
        await runJobs(queue.url, await Promise.all(missing.map((at) => jobOf(at, planned))), {
          signal,
          onResult: (index, result) => take(missing[index], validated(schema, result, 'FORMAT', wrong), false),
        });
      } else {
        for (const at of missing) {
          requireRunning(signal, `after ${done} of ${trials.length} trials`);
          const snapshots = store && { folder: store.snapshotFolder(placeOf(trials[at])), every: snapshotEvery };
          const update = (event: TrialUpdate): void => onUpdate?.(trials[at], event, done);
          const measured = await definition.run(trials[at], { compile, memory, signal, snapshots, onUpdate: update });
          await shared?.keep(await jobOf(at), measured);
          await take(at, measured, false);
        }
      }
      return results.filter((result) => result !== undefined);
    }

    /** Runs the trials, with a record if there is a folder for it, and writes the report. */
    async function report(options: RunStudyOptions): Promise<FinishedStudy> {
      const { out, command, note, onProgress, resultStore, share, ...others } = options;
      const total = trials.length;
      if (loaded.note !== undefined) note(loaded.note);
      const shared = resultStore === undefined ? undefined : await openResults(resultStore);
      const measure = async (run?: Run) => {
        const store = out === undefined ? undefined : await openTrials(out);
        const onUpdate = (trial: Trial, update: TrialUpdate, done: number): void => {
          if (run !== undefined) recordUpdate(run, trialName(placeOf(trial)), update);
          const info = `${wordsOf(trial)}, loss ${formatFixed(update.loss, 3)}`;
          onProgress(done + update.update / update.total, total, info);
        };
        return runTrials(
          { ...others, share, results: shared, store, onUpdate },
          ({ trial, measured }, isKnown, done) => {
            onProgress(done, total);
            if (isKnown) return;
            const figures = definition.figures(measured);
            run?.log({ trial: trialName(placeOf(trial)), ...figures });
            const numbers = Object.entries(figures).map(([figure, value]) => `${figure} ${formatFixed(value, 4)}`);
            note(`${done}/${total}  ${wordsOf(trial)}: ${numbers.join(', ')}`);
          },
        );
      };
      if (share !== undefined) {
        const { length } = await measure();
        const json = { study: name, share, store: resultStore, trials: length, of: total };
        return { text: `${resultStore} has the results of ${length} of ${total} trials`, json, negative: false };
      }
      const reported = async (run?: Run) => {
        const made = await definition.report(await measure(run), { plan, trials });
        run?.report({ ...made.summary, trials: total });
        return made;
      };
      const configuration = plainJson({ ...plan, trials: total });
      const made = await (out === undefined
        ? reported()
        : recordedWork(out, { command, configuration }, async (start) => reported(await start())));
      const finished = { text: printedReport(made), json: made.json, negative: made.negative ?? false };
      if (out === undefined) return finished;
      const json = { out, ...(await writeResults(out, name, made, command)), ...made.json };
      await writeFileAtomic(join(out, 'results.json'), `${JSON.stringify(json, null, 2)}\n`);
      return { ...finished, json, text: `${finished.text}\n\nwrote ${join(out, 'report.html')}` };
    }

    const dispose = async (): Promise<void> => loaded[Symbol.asyncDispose]?.();
    return { given, trials, runTrials, report, [Symbol.asyncDispose]: dispose };
  }

  return {
    definition,
    open,
    /** Runs a plan and writes its report. @throws LinnetError as `open` and `runTrials` */
    async run(given: unknown, source: PlanSource, options: RunStudyOptions): Promise<FinishedStudy> {
      const { out } = options;
      requireOneWay({ ...options, store: options.resultStore });
      await using _lock = out === undefined ? undefined : await lockFolder(out);
      await using study = await open(given, source, options.compile);
      try {
        return await study.report(options);
      } catch (error) {
        if (out === undefined || !(error instanceof LinnetError) || error.code !== 'ABORTED') throw error;
        throw new LinnetError('ABORTED', `${error.message}; to continue, give the same command again`, {
          cause: error,
        });
      }
    },
    /** Runs trials of the queue; the models and texts of the plan used last stay loaded. */
    handler({ compile, memory, check }: HandlerOptions): JobHandler {
      const opened = new LastOpened<Awaited<ReturnType<typeof open>>>();
      return async (data, { signal, folder }) => {
        const { plan, planFile, identity: asked, snapshotEvery } = trialJob(data);
        const { trials } = await opened.open(JSON.stringify([plan, planFile]), () =>
          open(plan, planSource(planFile, check), compile),
        );
        for (const trial of trials) {
          if ((await identity(trial)) !== asked) continue;
          const snapshots = { folder: join(folder, 'snapshots'), every: snapshotEvery };
          return definition.run(trial, { compile, memory, signal, snapshots });
        }
        throw new LinnetError(
          'MISMATCH',
          `${planFile} has no such trial with this worker's text and models: give all machines the same files`,
        );
      };
    },
  };
}

/** Lines that a trial has in the record at most: enough to show its curve, not every batch. */
const mostLines = 200;

function recordUpdate(run: Run, trial: string, { update, total, ...event }: TrialUpdate): void {
  if (update % Math.ceil(total / mostLines) !== 0) return;
  const { loss, gradientNorm = null, learningRate = null, seconds = null } = event;
  run.log({ trial, update, loss, gradientNorm, learningRate, seconds });
}
