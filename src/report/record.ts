/**
 * Run records: the configuration of a long task, its machine, and its metrics.
 *
 *     RUN/run.json        one object: command, configuration, seed, versions, machine, commit, times, status
 *     RUN/metrics.jsonl   one JSON object per line, appended as measured
 *
 * `run.json` is replaced atomically. A line of `metrics.jsonl` is handed to the operating system before `log` returns, so
 * a killed process loses no line; a machine that loses power may leave the last line torn, which reading forgives.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type RunFile, RunFolder } from '../files/run-folder.ts';
import { LinnetError, reasonOf } from '../errors.ts';
import { describeCommit, describeHardware, describeSoftware, hardwareSchema, softwareSchema } from './provenance.ts';

const jsonFields = z.record(z.string(), z.json());

const recordSchema = z.object({
  format: z.literal('linnet-run'),
  version: z.literal(1),
  /** The words of the command line, the program's name first. */
  command: z.array(z.string()),
  configuration: jsonFields,
  seed: z.int().nullable(),
  software: softwareSchema,
  hardware: hardwareSchema,
  commit: z.string().nullable(),
  started: z.iso.datetime(),
  /** Times at which the run was taken up again. */
  resumed: z.array(z.iso.datetime()),
  finished: z.iso.datetime().nullable(),
  status: z.enum(['running', 'finished', 'interrupted', 'failed']),
  /** Why it failed. */
  error: z.string().nullable(),
  /** Results: losses, speed, memory. Absent in unfinished runs. */
  results: jsonFields.optional(),
});

const metricValueSchema = z.union([z.number(), z.string(), z.boolean(), z.null()]);
/** Numbers without a spelling in JSON, and the texts that stand for them. */
const specialNumbers: ReadonlyMap<unknown, number> = new Map([
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
]);
const metricSchema = z.record(
  z.string(),
  metricValueSchema.transform((value) => specialNumbers.get(value) ?? value),
);

const what = 'a valid record of a run';
export const recordFile: RunFile<RunRecord> = { file: 'run.json', schema: recordSchema, what, mostBytes: 16 << 20 };
/** The metrics in a run's folder. */
export const metricsFile: RunFile<Metric> & { mostBytes: number } = {
  file: 'metrics.jsonl',
  schema: metricSchema,
  what,
  mostBytes: 512 << 20,
};

/** The content of `run.json`. */
export type RunRecord = z.infer<typeof recordSchema>;
export type JsonValue = z.infer<ReturnType<typeof z.json>>;
/** One line of metrics, such as `{ step: 10, loss: 2.31 }`. */
export type Metric = Readonly<Record<string, z.infer<typeof metricValueSchema>>>;

/** The caller's part of a run record. */
export interface RunDescription {
  readonly command: readonly string[];
  readonly configuration: Readonly<Record<string, JsonValue>>;
  /** Default: none. */
  readonly seed?: number;
}

/** How the folder of a run is opened. */
export interface OpenRunOptions {
  /**
   * Takes up the run in the folder: its first start and its metrics are kept, command and configuration are
   * replaced by the new description's. Default false: the folder must hold no run.
   */
  readonly resume?: boolean;
  /**
   * With `resume`: which metrics to keep. A run that falls back to an earlier snapshot keeps those up to its step and
   * measures the others again. Default: all.
   */
  readonly keep?: (metric: Metric) => boolean;
  /** Default: the system's clock. */
  readonly now?: () => Date;
}

/** A run being recorded. */
export interface Run {
  readonly folder: string;
  readonly record: RunRecord;
  /** Appends a line. Numbers that JSON does not know (NaN, ±Infinity) survive. */
  log(metric: Metric): void;
  /** Sets the results in the record, replacing earlier ones. */
  report(results: Readonly<Record<string, JsonValue>>): void;
  /**
   * Closes the record; calls after the first do nothing.
   * @param error the error, for status `failed`
   */
  finish(status: Exclude<RunRecord['status'], 'running'>, error?: unknown): Promise<void>;
}

/**
 * Starts a record in a folder, creating it if needed.
 * @throws LinnetError `PATH` if the folder holds a run already (or cannot be written), `NOT_FOUND` if there is none to
 *   resume, `FORMAT` if the one to resume is damaged
 * @example
 * ```ts
 * const run = await openRun(dir, description);
 * ```
 */
export async function openRun(dir: string, description: RunDescription, options: OpenRunOptions = {}): Promise<Run> {
  const { resume = false, keep, now = () => new Date() } = options;
  const folder = new RunFolder(dir);
  const earlier = resume ? await folder.load(recordFile) : undefined;
  if (!resume && folder.has(recordFile)) {
    throw new LinnetError('PATH', `${folder.path} already holds a run; name another folder, or resume this run`);
  }
  const time = now().toISOString();
  let record: RunRecord = {
    format: 'linnet-run',
    version: 1,
    command: [...description.command],
    configuration: { ...description.configuration },
    seed: description.seed ?? null,
    software: describeSoftware(),
    hardware: describeHardware(),
    commit: await describeCommit(),
    started: earlier?.started ?? time,
    resumed: earlier === undefined ? [] : [...earlier.resumed, time],
    finished: null,
    status: 'running',
    error: null,
  };
  // The metrics first: a folder with a record always has its metrics.
  const metrics = await folder.journal(metricsFile, resume ? keep : () => false);
  await folder.write(recordFile, record);
  return {
    folder: folder.path,
    get record() {
      return record;
    },
    log: (metric) => metrics.append(metric),
    report(results) {
      record = { ...record, results: { ...results } };
    },
    async finish(status, error) {
      if (!metrics.isOpen) return;
      metrics.close();
      const reason = error === undefined ? null : reasonOf(error);
      record = { ...record, status, error: reason, finished: now().toISOString() };
      await folder.write(recordFile, record);
    },
  };
}

/** Reads the record of a run, without its metrics. @throws LinnetError as `readRun` */
export function readRunRecord(dir: string): Promise<RunRecord> {
  return new RunFolder(dir).load(recordFile);
}

/**
 * Reads a run back.
 * @throws LinnetError `NOT_FOUND` if there is no run, `FORMAT` naming file, line and problem
 * @example
 * ```ts
 * const { record, metrics } = await readRun('runs/tuned');
 * ```
 */
export async function readRun(dir: string): Promise<{ record: RunRecord; metrics: Metric[] }> {
  const folder = new RunFolder(dir);
  const metrics = await folder.loadLines(metricsFile);
  return { record: await folder.load(recordFile), metrics };
}

/**
 * Does work next to the record in `folder`, which is taken up where it is there already: for work that finds by itself where
 * it was. The record says `finished`, or `interrupted` for an error with the code `ABORTED`, or `failed`.
 * @param start begins the record and returns it, with the earlier metrics to keep; work that is refused before leaves none
 * @throws as `work`
 */
export async function recordedWork<T>(
  folder: string,
  description: RunDescription,
  work: (start: (keep?: OpenRunOptions['keep']) => Promise<Run>) => Promise<T>,
): Promise<T> {
  let run: Run | undefined;
  const start = async (keep?: OpenRunOptions['keep']): Promise<Run> => {
    run ??= await openRun(folder, description, { resume: existsSync(join(folder, recordFile.file)), keep });
    return run;
  };
  try {
    const result = await work(start);
    await run?.finish('finished');
    return result;
  } catch (error) {
    const isStopped = error instanceof LinnetError && error.code === 'ABORTED';
    await run?.finish(isStopped ? 'interrupted' : 'failed', error);
    throw error;
  }
}

/** A value as records hold it, without the fields that JSON cannot hold. */
export function plainJson(value: object): Record<string, JsonValue> {
  const parsed: unknown = JSON.parse(JSON.stringify(value));
  return jsonFields.parse(parsed);
}
