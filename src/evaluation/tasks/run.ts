/** Evaluates a model on tasks: asks all questions, batch by batch, and sums up the answers' scores. */
import { internalError, requireRunning, type Stoppable } from '../../errors.ts';
import type { Scorer } from '../../engine/scoring/scorer.ts';
import { type Journal, journalKey } from './journal.ts';
import {
  groupSummary,
  judge,
  type Judgement,
  type Response,
  summarizeJudgements,
  type SummaryOptions,
} from './judging.ts';
import type { TaskSelection } from './registry.ts';
import {
  defaultGeneratedTokens,
  type Question,
  type QuestionOptions,
  readQuestions,
  type TaskQuestions,
  type TaskRequest,
} from './requests.ts';
import type { Task } from './schema.ts';

/** Questions asked together: likelihood requests share their beginnings, generated answers take time. */
const batchSizes: Readonly<Record<Task['output_type'], number>> = {
  multiple_choice: 32,
  loglikelihood: 32,
  loglikelihood_rolling: 1,
  generate_until: 8,
};

export interface JudgedQuestion {
  readonly question: Question;
  readonly responses: readonly Response[];
  readonly judgements: readonly Judgement[];
}

export type EvaluationResult = Awaited<ReturnType<typeof evaluateTasks>>;
export type TaskResult = EvaluationResult['tasks'][number];

export interface RunOptions extends QuestionOptions, SummaryOptions, Stoppable {
  readonly data: string;
  readonly onProgress?: (done: number, total: number, task: string) => void;
  /** Remembers answers, so that a run can continue. */
  readonly journal?: { readonly file: Journal; readonly model: string };
}

/**
 * Reads all tasks' questions, so that errors in their data surface before a model runs.
 * @throws LinnetError like `readQuestions`
 */
export async function readTasks(
  { tasks }: Pick<TaskSelection, 'tasks'>,
  data: string,
  options: QuestionOptions,
): Promise<TaskQuestions[]> {
  const read: TaskQuestions[] = [];
  for (const task of tasks) read.push(await readQuestions(data, task, options));
  return read;
}

/**
 * Evaluates a model.
 * @throws LinnetError like `readQuestions` and the scorer; `ABORTED` when the signal fires: the journal then has all answered
 *   batches
 */
export async function evaluateTasks(selection: TaskSelection, scorer: Scorer, options: RunOptions) {
  const all = await readTasks(selection, options.data, options);
  const total = all.reduce((sum, { questions }) => sum + questions.length, 0);
  const results = [];
  let done = 0;
  for (const { task, shots, questions, total: rows } of all) {
    const answers: JudgedQuestion[] = [];
    const size = scorer.together ?? batchSizes[task.output_type];
    for (let first = 0; first < questions.length; first += size) {
      requireRunning(options.signal, `after ${done} of ${total} questions`);
      const batch = questions.slice(first, first + size);
      const responses = await answerBatch(task, batch, scorer, options);
      batch.forEach((question, index) => {
        const own = responses[index];
        answers.push({ question, responses: own, judgements: judge(task, question, own) });
      });
      done += batch.length;
      options.onProgress?.(done, total, task.task);
    }
    const judgements = answers.map((answer) => answer.judgements);
    // `answers` may cover only the first rows.
    results.push({ task, shots, total: rows, summary: summarizeJudgements(task, judgements, options), answers });
  }
  const summaries = new Map(results.map(({ summary }) => [summary.task, summary]));
  const groups = selection.groups.flatMap((group) => groupSummary(group, summaries) ?? []);
  return { tasks: results, groups };
}

async function answerBatch(
  task: Task,
  questions: readonly Question[],
  scorer: Scorer,
  { journal, signal }: RunOptions,
): Promise<(readonly Response[])[]> {
  const asked = questions.map((question) => {
    const { requests } = question;
    const key = journal === undefined ? '' : journalKey(journal.model, task.task, question);
    return { key, requests, known: journal?.file.get(key, requests.length) };
  });
  const open = asked.filter(({ known }) => known === undefined);
  if (open.length === 0) return asked.map(({ known = [] }) => known);
  const responses = await answerRequests(
    open.flatMap(({ requests }) => requests),
    scorer,
    signal,
  );
  const entries = open.map(({ key, requests }) => ({ key, responses: responses.splice(0, requests.length) }));
  journal?.file.add(entries);
  const fresh = entries.values();
  return asked.map(({ known }) => known ?? fresh.next().value?.responses ?? []);
}

/** Answers requests of one type, like all of a task's. */
async function answerRequests(
  requests: readonly TaskRequest[],
  scorer: Scorer,
  signal: AbortSignal | undefined,
): Promise<Response[]> {
  const scored = requests.filter((request) => request.type === 'loglikelihood');
  const rolling = requests.filter((request) => request.type === 'loglikelihood_rolling').map(({ text }) => text);
  const prompts = requests
    .filter((request) => request.type === 'generate_until')
    .map(({ context, settings: { until, max_gen_toks: maxTokens = defaultGeneratedTokens } }) => {
      return { context, until, maxTokens };
    });
  if ([scored, rolling, prompts].every(({ length }) => length !== requests.length)) {
    throw internalError('a batch of requests of several types');
  }
  if (scored.length > 0) return scorer.score(scored, { signal });
  if (prompts.length > 0) return scorer.generate(prompts, { signal });
  const sums = await scorer.rolling(rolling, { signal });
  return sums.map((logLikelihood) => ({ logLikelihood, isGreedy: false }));
}
