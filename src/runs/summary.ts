/** A run in one line: its subject, progress and result. */
import { z } from 'zod';
import { isFolderHeld } from '../files/folder-lock.ts';
import { commandLine } from '../report/command-line.ts';
import type { RunRecord } from '../report/record.ts';
import type { FoundRun } from './find-runs.ts';
import { modelWords } from './model-words.ts';
import type { CurveGroup } from './series.ts';

/** `lost`: the record says that it runs, but no process has the folder: it was killed, or its machine went down. */
export type RunState = RunRecord['status'] | 'lost';

/** Summary of a run; fields that its record lacks are null. */
export interface RunSummary {
  readonly name: string;
  /** The command that made it: `finetune`, `medusa train`; `library` for a program. */
  readonly kind: string;
  readonly model: string | null;
  readonly mixer: string | null;
  readonly state: RunState;
  readonly error: string | null;
  /** Unit of `steps`: trials of a study, else optimizer steps. */
  readonly unit: 'steps' | 'trials';
  /** Done, and planned. */
  readonly steps: number | null;
  readonly totalSteps: number | null;
  /** In nats per token: the mean of a finished run's last tenth; of a run under way, the last step's loss. */
  readonly loss: number | null;
  readonly heldOutLoss: number | null;
  readonly perplexity: number | null;
  readonly tokens: number | null;
  readonly tokensPerSecond: number | null;
  /** From the last start to the end, or to now. */
  readonly seconds: number;
  readonly started: string;
  readonly machine: string;
  readonly command: string;
  readonly data: string | null;
  readonly seed: number | null;
  readonly commit: string | null;
  readonly versions: string;
}

/** Commands of two words. */
const groups: ReadonlySet<string> = new Set(['study', 'medusa', 'eval', 'bench', 'tokenizer']);
const mostCharacters = 2000;

const settingsSchema = z.looseObject({
  steps: z.number().positive().optional().catch(undefined),
  epochs: z.number().positive().optional().catch(undefined),
  batch: z.number().positive().optional().catch(undefined),
});
const readSchema = z.looseObject({ rows: z.number().positive().catch(Number.NaN), summary: z.string().catch('') });
const numberSchema = z.number().nullable().catch(null);
const resultsSchema = z.looseObject({
  loss: numberSchema.optional(),
  heldOutLoss: numberSchema.optional(),
  perplexity: numberSchema.optional(),
  steps: numberSchema.optional(),
  tokens: numberSchema.optional(),
  tokensPerSecond: numberSchema.optional(),
});

/**
 * The line of a run.
 * @param groups its curves, where they were read
 * @param now milliseconds, for the time of a run under way
 */
export async function summarizeRun(
  { name, folder }: FoundRun,
  record: RunRecord,
  groups: readonly CurveGroup[],
  now: number,
): Promise<RunSummary> {
  const { configuration, hardware, software, status } = record;
  const state = status === 'running' && !(await isFolderHeld(folder)) ? 'lost' : status;
  const results = resultsSchema.safeParse(record.results ?? {}).data ?? {};
  const last = lastValues(groups);
  const heldOutLoss = results.heldOutLoss ?? last.heldOutLoss ?? null;
  const heldOut = heldOutLoss === null ? null : Math.exp(heldOutLoss);
  const begun = Date.parse(record.resumed.at(-1) ?? record.started);
  const ended =
    record.finished === null ? (state === 'running' ? now : begun + 1000 * last.seconds) : Date.parse(record.finished);
  const words = modelWords(configuration.model);
  const given = typeof configuration.mixer === 'string' ? configuration.mixer : undefined;
  return {
    ...{ name, kind: kindOf(record.command), state, error: record.error },
    model: words.model ?? null,
    mixer: clipped(given ?? words.mixer),
    ...progressOf(record, groups, results.steps ?? null),
    loss: results.loss ?? last.loss ?? null,
    heldOutLoss,
    perplexity: results.perplexity ?? last.perplexity ?? heldOut,
    tokens: results.tokens ?? last.tokens ?? null,
    tokensPerSecond: results.tokensPerSecond ?? last.tokensPerSecond ?? null,
    seconds: Math.max(0, (ended - begun) / 1000),
    started: record.started,
    machine: `${hardware.cpu}, ${hardware.cores} cores`,
    command: clipped(commandLine(record.command)) ?? '',
    data: clipped(readSchema.safeParse(configuration.read).data?.summary) ?? dataWords(configuration.data),
    ...{ seed: record.seed, commit: record.commit },
    versions: `linnet ${software.linnet}, Node ${software.node}, ONNX Runtime ${software.onnxruntime}`,
  };
}

function kindOf([, first, second]: readonly string[]): string {
  if (first === undefined) return 'library';
  return groups.has(first) && second !== undefined ? `${first} ${second}` : first;
}

function clipped(text: string | undefined): string | null {
  if (text === undefined || text === '') return null;
  return text.length <= mostCharacters ? text : `${text.slice(0, mostCharacters)}…`;
}

function dataWords(data: unknown): string | null {
  const list = z.array(z.string()).safeParse(data);
  return list.success ? clipped(list.data.join(', ')) : null;
}

type Progress = Pick<RunSummary, 'unit' | 'steps' | 'totalSteps'>;

function progressOf({ configuration }: RunRecord, groups: readonly CurveGroup[], steps: number | null): Progress {
  const trials = z.number().positive().safeParse(configuration.trials);
  if (trials.success) {
    // The last line of a trial has its result, and no step.
    const done = groups.filter(({ last }) => Object.keys(last).some((field) => !trainingFields.has(field))).length;
    return { unit: 'trials', steps: done, totalSteps: trials.data };
  }
  const updates = groups.flatMap(({ last }) => (typeof last.update === 'number' ? [last.update] : []));
  const made = updates.length === 0 ? null : updates.reduce((sum, update) => sum + update, 0);
  return { unit: 'steps', steps: steps ?? made, totalSteps: totalSteps(configuration) };
}

/** Fields of lines of training, as against those of results. */
const trainingFields: ReadonlySet<string> = new Set([
  'update',
  'loss',
  'gradientNorm',
  'learningRate',
  'seconds',
  'tokens',
]);

function totalSteps({ settings, read }: RunRecord['configuration']): number | null {
  const { steps, epochs, batch } = settingsSchema.safeParse(settings).data ?? {};
  if (steps !== undefined) return steps;
  const rows = readSchema.safeParse(read).data?.rows;
  if (epochs === undefined || batch === undefined || rows === undefined || Number.isNaN(rows)) return null;
  return Math.floor((rows * epochs) / batch);
}

/** The last values of a run: of its own curves, or of the stage or trial that came last. */
function lastValues(groups: readonly CurveGroup[]) {
  const number = (field: string): number | undefined => {
    const value = groups.findLast(({ last }) => typeof last[field] === 'number')?.last[field];
    return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
  };
  const judged = groups.findLast(({ last }) => last.kept !== false && typeof last.perplexity === 'number')?.last
    .perplexity;
  const own = groups.find(({ name }) => name === '');
  const tokens = own?.curves.tokens;
  const seconds = own?.curves.seconds;
  return {
    loss: number('loss'),
    heldOutLoss: number('heldOutLoss'),
    perplexity: typeof judged === 'number' && Number.isFinite(judged) ? judged : undefined,
    tokens: number('tokens'),
    tokensPerSecond: tokens === undefined || seconds === undefined ? undefined : rate(tokens, seconds),
    seconds: seconds === undefined ? 0 : timeOf(seconds),
  };
}

interface Points {
  readonly x: readonly number[];
  readonly y: readonly number[];
}

/** Rate of the last steps: tokens are cumulative, seconds are per step. */
function rate(tokens: Points, seconds: Points): number | undefined {
  const [first, last] = [tokens.y.length < 2 ? 0 : tokens.y[tokens.y.length - 2], tokens.y[tokens.y.length - 1]];
  const steps = tokens.x.length < 2 ? 1 : tokens.x[tokens.x.length - 1] - tokens.x[tokens.x.length - 2];
  const time = seconds.y[seconds.y.length - 1] * steps;
  return time > 0 ? (last - first) / time : undefined;
}

function timeOf({ x, y }: Points): number {
  return y.reduce((sum, value, at) => sum + value * (at === 0 ? x[0] : x[at] - x[at - 1]), 0);
}
