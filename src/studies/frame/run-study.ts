/** Runs studies: trial by trial here or on other machines, continued where they were stopped, and reported. */
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { LinnetError, requireRunning } from '../../errors.ts';
import { writeFileAtomic } from '../../files/atomic.ts';
import { lockFolder } from '../../files/folder-lock.ts';
import { validated } from '../../files/schema-problems.ts';
import type { Job, JobHandler } from '../../jobs/job.ts';
import { runJobs } from '../../jobs/queue.ts';
import { commandLine } from '../../report/command-line.ts';
import { writeReport } from '../../report/html.ts';
import { provenanceFacts } from '../../report/provenance.ts';
import { formatFixed } from '../../report/quantities.ts';
import { plainJson, recordedWork, type Run } from '../../report/record.ts';
import { textTable } from '../../report/table.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import {
  parsePlan,
  placeWords,
  type PlanSource,
  planSource,
  type StudyDefinition,
  type StudyReport,
  type TrialPlace,
  trialName,
  type Trials,
  type TrialUpdate,
} from './study.ts';
import { measuredOf, readKnownTrials, TrialStore } from './trial-store.ts';

/** A plan with everything that it names. Dispose of it. */
export interface OpenStudy<Plan extends object, Trial, Place extends TrialPlace, Measured extends object>
  extends AsyncDisposable {
  readonly definition: StudyDefinition<Plan, Trial, Place, Measured>;
  readonly plan: Plan;
  /** The plan as it was given. */
  readonly given: unknown;
  readonly source: PlanSource;
  readonly trials: readonly Trial[];
  readonly note?: string;
}

/**
 * Checks a plan and loads the models and data that it names.
 * @throws LinnetError `CONFIG` naming every field that is wrong, and as the study's `load` throws
 */
export async function openStudy<Plan extends object, Trial, Place extends TrialPlace, Measured extends object>(
  definition: StudyDefinition<Plan, Trial, Place, Measured>,
  given: unknown,
  source: PlanSource = planSource(),
  compile?: CompileOptions,
): Promise<OpenStudy<Plan, Trial, Place, Measured>> {
  const plan = parsePlan(definition, given, source.name);
  const loaded: Trials<Trial> = await definition.load(plan, source, compile);
  return {
    ...{ definition, plan, given, source },
    ...{ trials: loaded.trials, note: loaded.note },
    [Symbol.asyncDispose]: async () => loaded[Symbol.asyncDispose]?.(),
  };
}

/** A queue of jobs that other machines take. */
export interface StudyQueue {
  /** Of its Redis. */
  readonly url: string;
  readonly planFile: string;
}

export interface RunTrialsOptions<Trial, Result> {
  /** Where results are kept. Default: nowhere. */
  readonly store?: TrialStore;
  /** Results of other runs. */
  readonly known?: { readonly file: string; readonly trials: Awaited<ReturnType<typeof readKnownTrials>> };
  /** Runs the trials on other machines. */
  readonly queue?: StudyQueue;
  /** Optimizer steps between two snapshots of a trial. Default 200. */
  readonly snapshotEvery?: number;
  readonly compile?: CompileOptions;
  readonly signal?: AbortSignal;
  readonly onUpdate?: (trial: Trial, update: TrialUpdate, done: number) => void;
  /** Called for every result; `known` if it was measured before. */
  readonly onResult?: (result: Result, known: boolean, done: number) => void;
}

/**
 * Runs the trials that have no result yet. Stopped, it goes on where it was when called again: inside a trial from its
 * newest snapshot.
 * @returns results in the order of the plan
 * @throws LinnetError `ABORTED` when the signal fires, `MISMATCH` for results of another plan in the folder, and as `runJobs`
 */
export async function runTrials<Plan extends object, Trial, Place extends TrialPlace, Measured extends object>(
  study: OpenStudy<Plan, Trial, Place, Measured>,
  options: RunTrialsOptions<Trial, Place & Measured> = {},
): Promise<(Place & Measured)[]> {
  const { definition, trials } = study;
  const { store, known, queue, snapshotEvery = 200, compile, signal, onUpdate, onResult } = options;
  const found: (Measured | undefined)[] = [];
  for (const trial of trials) {
    const identity = (): string | Promise<string> => definition.identity(trial);
    const place = definition.place(trial);
    const stored = await store?.find(place, identity, definition.measured);
    const other = stored === undefined ? known?.trials.get(await identity()) : undefined;
    found.push(stored ?? (other && measuredOf(other, place, definition.measured, known?.file ?? '')));
  }
  const results: ((Place & Measured) | undefined)[] = [];
  let done = 0;
  const take = async (at: number, measured: Measured, isKnown: boolean): Promise<void> => {
    const place = definition.place(trials[at]);
    if (!isKnown) await store?.store(place, await definition.identity(trials[at]), measured);
    results[at] = { ...place, ...measured };
    onResult?.({ ...place, ...measured }, isKnown, ++done);
  };
  if (queue !== undefined) {
    const open = [...trials.keys()].filter((at) => found[at] === undefined);
    for (const [at, measured] of found.entries()) if (measured !== undefined) await take(at, measured, true);
    await runInQueue(study, queue, open, { snapshotEvery, signal, take });
    return results.filter((result) => result !== undefined);
  }
  for (const [at, trial] of trials.entries()) {
    const earlier = found[at];
    if (earlier === undefined) requireRunning(signal, `after ${done} of ${trials.length} trials`);
    const measured =
      earlier ??
      (await definition.run(trial, {
        ...{ compile, signal },
        snapshots: store && { folder: store.snapshotFolder(definition.place(trial)), every: snapshotEvery },
        onUpdate: (update) => onUpdate?.(trial, update, done),
      }));
    await take(at, measured, earlier !== undefined);
  }
  return results.filter((result) => result !== undefined);
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

async function runInQueue<Plan extends object, Trial, Place extends TrialPlace, Measured extends object>(
  { definition, given, trials }: OpenStudy<Plan, Trial, Place, Measured>,
  { url, planFile }: StudyQueue,
  open: readonly number[],
  {
    snapshotEvery,
    signal,
    take,
  }: Pick<RunTrialsOptions<never, never>, 'snapshotEvery' | 'signal'> & {
    readonly take: (at: number, measured: Measured, isKnown: boolean) => Promise<void>;
  },
): Promise<void> {
  const shared = { study: definition.name, plan: given, planFile: resolve(planFile), snapshotEvery };
  const jobs: Job[] = [];
  for (const at of open) {
    const title = `trial ${placeWords(definition.place(trials[at])).join(', ')}`;
    const data = { ...shared, identity: await definition.identity(trials[at]) };
    jobs.push({ kind: studyTrialKind, title, data });
  }
  await runJobs(url, jobs, {
    signal,
    async onResult(index, result) {
      const measured = definition.measured.safeParse(result);
      if (measured.success) await take(open[index], measured.data, false);
      else throw new LinnetError('FORMAT', 'the queue holds something else than the result of a trial');
    },
  });
}

/** Where and how a study is run. */
export interface RunStudyOptions
  extends Pick<RunTrialsOptions<never, never>, 'compile' | 'signal' | 'snapshotEvery' | 'queue'> {
  /** The folder of results; without one nothing is kept. */
  readonly out?: string;
  /** Results of other runs, a JSON object a line. */
  readonly known?: string;
  /** The command line, for the record and the page. */
  readonly command: readonly string[];
  readonly note: (line: string) => void;
  readonly onProgress: (done: number, total: number, info?: string) => void;
}

/** Output of a study: for people, for machines, and whether its answer is no. */
export interface FinishedStudy {
  readonly text: string;
  readonly json: Readonly<Record<string, unknown>>;
  readonly negative: boolean;
}

/** A study whose types are forgotten. */
export interface Study
  extends Pick<StudyDefinition<object, unknown, TrialPlace, object>, 'name' | 'description' | 'examples' | 'plan'> {
  /** Runs a plan and writes its report. @throws LinnetError as `openStudy` and `runTrials` */
  run(given: unknown, source: PlanSource, options: RunStudyOptions): Promise<FinishedStudy>;
  /** Runs trials of the queue; the models and texts of the plan used last stay loaded. */
  handler(compile: CompileOptions): JobHandler;
}

export function defineStudy<Plan extends object, Trial, Place extends TrialPlace, Measured extends object>(
  definition: StudyDefinition<Plan, Trial, Place, Measured>,
): Study {
  const { name, description, examples, plan } = definition;
  return {
    ...{ name, description, examples, plan },
    async run(given, source, options) {
      const { out } = options;
      await using _lock = out === undefined ? undefined : await lockFolder(out);
      await using study = await openStudy(definition, given, source, options.compile);
      try {
        return await runRecorded(study, options);
      } catch (error) {
        if (out === undefined || !(error instanceof LinnetError) || error.code !== 'ABORTED') throw error;
        const message = `${error.message}; to continue, give the same command again`;
        throw new LinnetError('ABORTED', message, { cause: error });
      }
    },
    handler(compile) {
      let last: { readonly key: string; readonly study: ReturnType<typeof open> } | undefined;
      const open = (given: unknown, file: string) => openStudy(definition, given, planSource(file), compile);
      return async (data, { signal, folder }) => {
        const { plan: given, planFile, identity, snapshotEvery } = trialJob(data);
        const key = JSON.stringify([given, planFile]);
        if (last?.key !== key) last = { key, study: open(given, planFile) };
        const { trials } = await last.study.catch((error: unknown) => {
          last = undefined;
          throw error;
        });
        for (const trial of trials) {
          if ((await definition.identity(trial)) !== identity) continue;
          const snapshots = { folder: join(folder, 'snapshots'), every: snapshotEvery };
          return definition.run(trial, { compile, signal, snapshots });
        }
        throw new LinnetError(
          'MISMATCH',
          `with the text and the models that this worker finds, ${planFile} has no such trial: give all machines the same files`,
        );
      };
    },
  };
}

/** The job of a trial. @throws LinnetError `INPUT` for any other */
export function trialJob(data: unknown): z.output<typeof jobSchema> {
  return validated(jobSchema, data, 'INPUT', 'the job is not a trial of a study');
}

async function runRecorded<Plan extends object, Trial, Place extends TrialPlace, Measured extends object>(
  study: OpenStudy<Plan, Trial, Place, Measured>,
  { out, known, command, note, onProgress, ...options }: RunStudyOptions,
): Promise<FinishedStudy> {
  const { definition, plan, trials } = study;
  const total = trials.length;
  if (study.note !== undefined) note(study.note);
  const measure = async (run?: Run) => {
    const results = await runTrials(study, {
      ...options,
      store: out === undefined ? undefined : await TrialStore.open(out),
      known: known === undefined ? undefined : { file: known, trials: await readKnownTrials(known) },
      onUpdate(trial, update, done) {
        const place = definition.place(trial);
        if (run !== undefined) recordUpdate(run, trialName(place), update);
        const info = `${placeWords(place).join(', ')}, loss ${formatFixed(update.loss, 3)}`;
        onProgress(done + update.update / update.total, total, info);
      },
      onResult(result, isKnown, done) {
        onProgress(done, total);
        if (isKnown) return;
        const place = placeOf(result, definition.place(trials[0]));
        const figures = definition.figures(result);
        run?.log({ trial: trialName(place), ...figures });
        const numbers = Object.entries(figures).map(([name, value]) => `${name} ${formatFixed(value, 4)}`);
        note(`${done}/${total}  ${placeWords(place).join(', ')}: ${numbers.join(', ')}`);
      },
    });
    const report = await definition.report(results, { plan, trials });
    run?.report({ ...report.summary, trials: total });
    return report;
  };
  if (out === undefined) {
    const report = await measure();
    return { text: printedReport(report), json: report.json, negative: report.negative ?? false };
  }
  const configuration = plainJson({ ...plan, trials: total });
  const report = await recordedWork(out, { command, configuration }, async (start) => measure(await start()));
  const json = { out, ...(await writeResults(out, definition.name, report, command)), ...report.json };
  await writeFileAtomic(join(out, 'results.json'), `${JSON.stringify(json, null, 2)}\n`);
  const text = `${printedReport(report)}\n\nwrote ${join(out, 'report.html')}`;
  return { text, json, negative: report.negative ?? false };
}

/** The tables of a report, each under its title where there are several, and its conclusion. */
function printedReport({ sections, conclusion }: StudyReport): string {
  const tables = sections.flatMap(({ title, blocks }) =>
    blocks.flatMap((block) => (block.kind === 'table' ? [{ title, text: textTable(block.table) }] : [])),
  );
  const parts = tables.map(({ title, text }) => (tables.length === 1 ? text : `${title}\n${text}`));
  return [...parts, ...(conclusion === undefined ? [] : [conclusion])].join('\n\n');
}

/** Writes page, charts and files of a report. @returns their paths, as JSON has them */
async function writeResults(
  out: string,
  name: string,
  { title, subtitle, sections, facts = [], charts = {}, files = {} }: StudyReport,
  command: readonly string[],
): Promise<Record<string, unknown>> {
  const report = join(out, 'report.html');
  const how = [{ kind: 'facts', facts: [...facts, ...provenanceFacts()] }] as const;
  await writeReport(report, {
    ...{ title, subtitle, sections: [...sections, { title: 'How it was measured', blocks: how }] },
    ...{ footer: `Made by linnet study ${name}.`, command: commandLine(command) },
  });
  const written: Record<string, unknown> = { report };
  const write = async (file: string, content: string): Promise<string> => {
    await writeFileAtomic(join(out, file), content);
    return join(out, file);
  };
  const drawn: string[] = [];
  for (const [file, chart] of Object.entries(charts)) drawn.push(await write(`${file}.svg`, chart.svgFile()));
  if (drawn.length > 0) written.charts = drawn;
  for (const [key, file] of Object.entries(files)) written[key] = await write(file.name, file.content);
  return written;
}

/** The fields of a result that say where it belongs. */
function placeOf(result: object, like: TrialPlace): TrialPlace {
  const known = new Map<string, TrialPlace[string]>(Object.entries(result));
  return Object.fromEntries(Object.keys(like).map((name) => [name, known.get(name) ?? '']));
}

/** Lines that a trial has in the record at most: enough to show its curve, not every batch. */
const mostLines = 200;

function recordUpdate(run: Run, trial: string, { update, total, ...event }: TrialUpdate): void {
  if (update % Math.ceil(total / mostLines) !== 0) return;
  const { loss, gradientNorm = null, learningRate = null, seconds = null } = event;
  run.log({ trial, update, loss, gradientNorm, learningRate, seconds });
}
