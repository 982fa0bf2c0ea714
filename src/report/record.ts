/**
 * Run records: what a long task was asked to do, on what, and what it measured on the way.
 *
 *     RUN/run.json        one object: command, configuration, seed, versions, machine, commit, times, status
 *     RUN/metrics.jsonl   one JSON object per line, appended as measured
 *
 * `run.json` is replaced atomically. A line of `metrics.jsonl` is handed to the operating system before `log` returns, so
 * a killed process loses no line; a machine that loses power may leave the last line torn, which reading forgives.
 */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../files/atomic.ts';
import { checkJsonLimits } from '../files/json-limits.ts';
import { fileError, readInFolder } from '../files/regular-file.ts';
import { LinnetError } from '../errors.ts';
import { validated } from '../files/schema-problems.ts';
import { describeCommit, describeHardware, describeSoftware, hardwareSchema, softwareSchema } from './provenance.ts';

const RECORD_FILE = 'run.json';
/** The file of metrics in a run's folder. */
export const METRICS_FILE = 'metrics.jsonl';
/** Far above what any run writes; a larger file is not one of ours. */
const MOST_RECORD_BYTES = 16 * 1024 * 1024;
export const MOST_METRICS_BYTES = 512 * 1024 * 1024;

const statusSchema = z.enum(['running', 'finished', 'interrupted', 'failed']);

const recordSchema = z.object({
  format: z.literal('linnet-run'),
  version: z.literal(1),
  /** The words of the command line, the program's name first. */
  command: z.array(z.string()),
  configuration: z.record(z.string(), z.json()),
  seed: z.int().nullable(),
  software: softwareSchema,
  hardware: hardwareSchema,
  commit: z.string().nullable(),
  started: z.iso.datetime(),
  /** Times at which the run was taken up again. */
  resumed: z.array(z.iso.datetime()),
  finished: z.iso.datetime().nullable(),
  status: statusSchema,
  /** Why it failed. */
  error: z.string().nullable(),
  /** What came of it: losses, speed, memory. Absent in records of runs that are not finished. */
  results: z.record(z.string(), z.json()).optional(),
});

const metricValueSchema = z.union([z.number(), z.string(), z.boolean(), z.null()]);
const metricSchema = z.record(z.string(), metricValueSchema);

export type RunStatus = z.infer<typeof statusSchema>;
/** What `run.json` says of a run. */
export type RunRecord = z.infer<typeof recordSchema>;
export type JsonValue = z.infer<ReturnType<typeof z.json>>;
export type MetricValue = z.infer<typeof metricValueSchema>;
/** One line of metrics, such as `{ step: 10, loss: 2.31 }`. */
export type Metric = Readonly<Record<string, MetricValue>>;

/** What the caller knows about a run. */
export interface RunDescription {
  readonly command: readonly string[];
  readonly configuration: Readonly<Record<string, JsonValue>>;
  /** Default: none. */
  readonly seed?: number;
}

/** How the folder of a run is opened. */
export interface OpenRunOptions {
  /**
   * Takes up the run in the folder: its first start and its metrics are kept, command and configuration are those of the
   * new description. Default false: the folder must hold no run.
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
  /** Says what came of the run, for the record; replaces what was said before. */
  report(results: Readonly<Record<string, JsonValue>>): void;
  /**
   * Closes the record; calls after the first do nothing.
   * @param error what went wrong, for status `failed`
   */
  finish(status: Exclude<RunStatus, 'running'>, error?: unknown): Promise<void>;
}

/**
 * Starts a record in a folder, which is created if need be.
 * @throws LinnetError `PATH` if the folder holds a run already (or cannot be written), `NOT_FOUND` if there is none to
 *   resume, `FORMAT` if the one to resume is damaged
 * @example
 * ```ts
 * const run = await openRun(dir, description);
 * ```
 */
export async function openRun(dir: string, description: RunDescription, options: OpenRunOptions = {}): Promise<Run> {
  const { resume = false, keep = () => true, now = () => new Date() } = options;
  const folder = resolve(dir);
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw fileError('create', folder, error);
  }
  const earlier = await readEarlier(folder, resume);
  const time = now().toISOString();
  const record: RunRecord = {
    format: 'linnet-run',
    version: 1,
    command: [...description.command],
    configuration: { ...description.configuration },
    seed: description.seed ?? null,
    software: describeSoftware(),
    hardware: describeHardware(),
    commit: await describeCommit(),
    started: earlier?.record.started ?? time,
    resumed: earlier === undefined ? [] : [...earlier.record.resumed, time],
    finished: null,
    status: 'running',
    error: null,
  };
  // The metrics first: a folder with a record always has its metrics.
  const kept = earlier?.metrics.filter(keep) ?? [];
  await writeFileAtomic(join(folder, METRICS_FILE), kept.map(formatMetric).join(''));
  await writeRecord(folder, record);
  return new RecordedRun(folder, record, now);
}

class RecordedRun implements Run {
  readonly folder: string;
  readonly #now: () => Date;
  readonly #metrics: number;
  #record: RunRecord;
  #isOpen = true;

  constructor(folder: string, record: RunRecord, now: () => Date) {
    this.folder = folder;
    this.#record = record;
    this.#now = now;
    this.#metrics = openSync(join(folder, METRICS_FILE), 'a');
  }

  get record(): RunRecord {
    return this.#record;
  }

  log(metric: Metric): void {
    if (!this.#isOpen) throw new LinnetError('INPUT', `the run in ${this.folder} is finished; no metric can be added`);
    writeSync(this.#metrics, formatMetric(metric));
  }

  report(results: Readonly<Record<string, JsonValue>>): void {
    this.#record = { ...this.#record, results: { ...results } };
  }

  async finish(status: Exclude<RunStatus, 'running'>, error?: unknown): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    fsyncSync(this.#metrics);
    closeSync(this.#metrics);
    const reason = error === undefined ? null : messageOf(error);
    this.#record = { ...this.#record, status, error: reason, finished: this.#now().toISOString() };
    await writeRecord(this.folder, this.#record);
  }
}

/**
 * Reads what a run is, without its metrics.
 * @throws LinnetError as `readRun`
 */
export async function readRunRecord(dir: string): Promise<RunRecord> {
  const folder = resolve(dir);
  const text = (await readInFolder(folder, RECORD_FILE, MOST_RECORD_BYTES)).toString('utf8');
  return parseAs(recordSchema, text, join(folder, RECORD_FILE));
}

/**
 * Reads a run back.
 * @throws LinnetError `NOT_FOUND` where there is no run, `FORMAT` naming file, line and what is wrong with it
 * @example
 * ```ts
 * const { record, metrics } = await readRun('runs/tuned');
 * ```
 */
export async function readRun(dir: string): Promise<{ record: RunRecord; metrics: Metric[] }> {
  const folder = resolve(dir);
  const metricsText = (await readInFolder(folder, METRICS_FILE, MOST_METRICS_BYTES)).toString('utf8');
  return {
    record: await readRunRecord(folder),
    metrics: parseMetrics(metricsText, join(folder, METRICS_FILE)),
  };
}

async function readEarlier(
  folder: string,
  resume: boolean,
): Promise<{ record: RunRecord; metrics: Metric[] } | undefined> {
  if (resume) return readRun(folder);
  try {
    await readInFolder(folder, RECORD_FILE, MOST_RECORD_BYTES);
  } catch (error) {
    if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
  throw new LinnetError('PATH', `${folder} already holds a run; name another folder, or resume this run`);
}

async function writeRecord(folder: string, record: RunRecord): Promise<void> {
  await writeFileAtomic(join(folder, RECORD_FILE), `${JSON.stringify(record, null, 2)}\n`);
}

/** A value as records hold it: what JSON does not know is left out. */
export function plainJson(value: object): Record<string, JsonValue> {
  const parsed: unknown = JSON.parse(JSON.stringify(value));
  return z.record(z.string(), z.json()).parse(parsed);
}

/** Numbers without a spelling in JSON, and the texts that stand for them. */
const SPECIAL_NUMBERS: ReadonlyMap<string, number> = new Map([
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
]);

function formatMetric(metric: Metric): string {
  const line = JSON.stringify(metric, (_, value: unknown) =>
    typeof value === 'number' && !Number.isFinite(value) ? String(value) : value,
  );
  return `${line}\n`;
}

/**
 * The metrics of whole lines.
 * @param path names the file in errors
 * @throws LinnetError `FORMAT` for a line that is no metric
 */
export function parseMetrics(text: string, path: string): Metric[] {
  const lines = text.split('\n');
  // What follows the last line break is nothing, or a line torn by a power cut.
  return lines.slice(0, -1).map((line, at) => {
    const metric = parseAs(metricSchema, line, `${path}, line ${at + 1}`);
    return Object.fromEntries(
      Object.entries(metric).map(([name, value]) => [
        name,
        typeof value === 'string' ? (SPECIAL_NUMBERS.get(value) ?? value) : value,
      ]),
    );
  });
}

function parseAs<T>(schema: z.ZodType<T>, text: string, source: string): T {
  checkJsonLimits(Buffer.from(text), source); // the schema calls itself for every level
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new LinnetError('FORMAT', `${source} is not JSON: ${messageOf(error)}`);
  }
  return validated(schema, value, 'FORMAT', `${source} is not a valid record of a run`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
