/** A run in one line: its subject, progress and result. */
import { isFolderHeld } from '../files/folder-lock.ts';
import { isJsonObject } from '../files/json-object.ts';
import { commandLine } from '../report/command-line.ts';
import type { RunRecord } from '../report/record.ts';
import type { FoundRun } from './find-runs.ts';
import { modelWords } from './model-words.ts';
import type { Curve, CurveGroup } from './series.ts';

/** Summary of a run; fields that its record lacks are null. */
export type RunSummary = Awaited<ReturnType<typeof summarizeRun>>;

/** Commands of two words. */
const commandGroups: ReadonlySet<string> = new Set(['study', 'medusa', 'eval', 'tokenizer']);
const mostCharacters = 2000;

/**
 * The line of a run.
 * @param groups its curves, if they were read
 * @param now milliseconds, for the time of a run under way
 */
export async function summarizeRun(
  { name, folder }: FoundRun,
  record: RunRecord,
  groups: readonly CurveGroup[],
  now: number,
) {
  const { configuration, hardware, software, status, results } = record;
  // Lost: the record says that it runs, but no process has the folder: it was killed, or its machine went down.
  const state = status === 'running' && !(await isFolderHeld(folder)) ? 'lost' : status;
  const last = lastValues(groups);
  const heldOutLoss = numberOf(results, 'heldOutLoss') ?? last.heldOutLoss ?? null;
  const begun = Date.parse(record.resumed.at(-1) ?? record.started);
  const ended =
    record.finished === null ? (state === 'running' ? now : begun + 1000 * last.seconds) : Date.parse(record.finished);
  const words = modelWords(configuration.model);
  return {
    name,
    kind: kindOf(record),
    state,
    error: record.error,
    model: words.model ?? null,
    // The mixer of the resulting model, also for current runs.
    mixer: clipped(fieldOf(results, 'mixer') ?? last.mixer ?? configuration.mixer ?? words.mixer),
    ...progressOf(record, groups),
    // The mean of a finished run's last tenth; of a run under way, the last step's loss.
    loss: numberOf(results, 'loss') ?? last.loss ?? null,
    heldOutLoss,
    perplexity:
      numberOf(results, 'perplexity') ?? last.perplexity ?? (heldOutLoss === null ? null : Math.exp(heldOutLoss)),
    tokens: numberOf(results, 'tokens') ?? last.tokens ?? null,
    tokensPerSecond: numberOf(results, 'tokensPerSecond') ?? last.tokensPerSecond ?? null,
    // From the last start to the end, or to now.
    seconds: Math.max(0, (ended - begun) / 1000),
    started: record.started,
    machine: `${hardware.cpu}, ${hardware.cores} cores`,
    command: clipped(commandLine(record.command)) ?? '',
    data: clipped(fieldOf(configuration.read, 'summary')) ?? dataWords(configuration.data),
    seed: record.seed,
    commit: record.commit,
    versions: `linnet ${software.linnet}, Node ${software.node}, ONNX Runtime ${software.onnxruntime}`,
  };
}

/** The command that made a run: `finetune`, `medusa train`; `library` for a program. */
function kindOf({ command: [, first, second] }: RunRecord): string {
  if (first === undefined) return 'library';
  return commandGroups.has(first) && second !== undefined ? `${first} ${second}` : first;
}

const squaredError = 'Squared error of mixed values';
/** Loss quantities other than token cross-entropy, by conversion stage, objective, stage or command. */
const quantities: Readonly<Record<string, string>> = {
  transfer: squaredError,
  attention: squaredError,
  logits: 'KL divergence, nats per token',
  regress: 'Squared error of numbers',
  classify: 'Loss, nats per text',
  'medusa train': 'Loss of heads, nats per token',
  'study leak': 'Loss, nats per byte',
  'study recall': 'Loss, nats per answer',
};

/** The loss quantity of a run or stage, with its unit: curves of one quantity share an axis. */
export function lossQuantity(record: RunRecord, stage: string): string {
  const { objective, stage: ofTransfer } = record.configuration;
  const found = [stage, objective, ofTransfer, kindOf(record)].find(
    (key) => typeof key === 'string' && Object.hasOwn(quantities, key),
  );
  return typeof found === 'string' ? quantities[found] : 'Loss, nats per token';
}

function clipped(text: unknown): string | null {
  if (typeof text !== 'string' || text === '') return null;
  return text.length <= mostCharacters ? text : `${text.slice(0, mostCharacters)}…`;
}

function dataWords(data: unknown): string | null {
  const isList = Array.isArray(data) && data.every((item) => typeof item === 'string');
  return isList ? clipped(data.join(', ')) : null;
}

/** A field of an untrusted value. */
function fieldOf(value: unknown, field: string): unknown {
  return isJsonObject(value) ? value[field] : undefined;
}

function numberOf(value: unknown, field: string): number | undefined {
  const found = fieldOf(value, field);
  return typeof found === 'number' && Number.isFinite(found) ? found : undefined;
}

/** Fields of training lines; result lines have others. */
const trainingFields: ReadonlySet<string> = new Set('update loss gradientNorm learningRate seconds tokens'.split(' '));

/** Trials of a study, or optimizer steps: done, and planned. */
function progressOf(
  { configuration, results }: RunRecord,
  groups: readonly CurveGroup[],
): { unit: 'trials' | 'steps'; steps: number | null; totalSteps: number | null } {
  const trials = numberOf(configuration, 'trials');
  if (trials !== undefined) {
    // The last line of a trial has its result, and no step.
    const done = groups.filter(({ last }) => Object.keys(last).some((field) => !trainingFields.has(field))).length;
    return { unit: 'trials', steps: done, totalSteps: trials };
  }
  const updates = groups.flatMap(({ last }) => (typeof last.update === 'number' ? [last.update] : []));
  const made = updates.length === 0 ? null : updates.reduce((sum, update) => sum + update, 0);
  return { unit: 'steps', steps: numberOf(results, 'steps') ?? made, totalSteps: totalSteps(configuration) };
}

function totalSteps({ settings, read }: RunRecord['configuration']): number | null {
  const [steps, epochs, batch] = ['steps', 'epochs', 'batch'].map((field) => numberOf(settings, field));
  const rows = numberOf(read, 'rows');
  if (steps !== undefined) return steps;
  return epochs && batch && rows ? Math.floor((rows * epochs) / batch) : null;
}

/** The last values of a run's own curves, or of its latest stage or trial. */
function lastValues(groups: readonly CurveGroup[]) {
  const number = (field: string, own = groups): number | undefined =>
    numberOf(own.findLast(({ last }) => typeof last[field] === 'number')?.last, field);
  const { tokens, seconds } = groups.find(({ name }) => name === '')?.curves ?? {};
  return {
    mixer: groups.findLast(({ last }) => last.mixer !== undefined)?.last.mixer,
    loss: number('loss'),
    heldOutLoss: number('heldOutLoss'),
    perplexity: number(
      'perplexity',
      groups.filter(({ last }) => last.kept !== false),
    ),
    tokens: number('tokens'),
    tokensPerSecond: tokens === undefined || seconds === undefined ? undefined : rate(tokens, seconds),
    seconds: seconds === undefined ? 0 : timeOf(seconds),
  };
}

/** Rate of the last steps: tokens are cumulative, seconds are per step. */
function rate(tokens: Curve, seconds: Curve): number | undefined {
  const [first, last] = [tokens.y[tokens.y.length - 2] ?? 0, tokens.y[tokens.y.length - 1]];
  const steps = tokens.x.length < 2 ? 1 : tokens.x[tokens.x.length - 1] - tokens.x[tokens.x.length - 2];
  const time = seconds.y[seconds.y.length - 1] * steps;
  return time > 0 ? (last - first) / time : undefined;
}

function timeOf({ x, y }: Curve): number {
  return y.reduce((sum, value, at) => sum + value * (at === 0 ? x[0] : x[at] - x[at - 1]), 0);
}
