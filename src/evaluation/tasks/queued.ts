/**
 * Asks tasks on other machines. Workers return answers; the caller judges them with the code of a local run, so that the
 * numbers are the same.
 */
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { positiveNumber, whole } from '../../files/schema-values.ts';
import { validated } from '../../files/schema-problems.ts';
import { type JobHandler, runJobs } from '../../jobs/queue.ts';
import { type Journal, journalLineSchema, openJournal } from './journal.ts';
import type { QuestionOptions, TaskQuestions } from './requests.ts';
import { evaluateTasks, readTasks, type RunOptions } from './run.ts';
import type { Scorer, ScorerUsage } from '../../engine/scoring/scorer.ts';
import { parseTask, type Task } from './schema.ts';

export const evalTaskKind = 'eval-task';

const scorerSchema = z.strictObject({
  model: z.string().max(4096),
  maxLength: whole(2).optional(),
  context: z.enum(['windows', 'unlimited']),
  bos: z.boolean().optional(),
  sharing: z.boolean(),
  /** Several tokens per step, for generated answers. */
  speculate: z.enum(['off', 'lookup']),
});

/** Describes a scorer, its model by its folder. */
export type ScorerDescription = z.infer<typeof scorerSchema>;

const dataSchema = z.strictObject({
  scorer: scorerSchema,
  /** Identifies the model with its settings, as in the journal. */
  identity: z.string().max(128),
  task: z.json(),
  data: z.string().max(4096),
  questions: z.strictObject({
    shots: whole().optional(),
    limit: positiveNumber.optional(),
    seed: z.int().optional(),
  }),
});

const usageCounts = ['tokensRead', 'tokensReused', 'tokensGenerated'] as const;
const usageSchema = z.strictObject({ tokensRead: z.int(), tokensReused: z.int(), tokensGenerated: z.int() });

const resultSchema = z.strictObject({ answers: z.array(journalLineSchema), usage: usageSchema });

interface OpenedScorer {
  readonly scorer: Scorer;
  readonly identity: string;
}

interface QueuedTasksOptions extends Pick<RunOptions, 'signal'> {
  readonly queue: string;
  readonly scorer: ScorerDescription;
  readonly identity: string;
  readonly data: string;
  readonly questions: QuestionOptions;
  readonly journal: Journal;
  readonly onProgress?: (done: number, total: number, task: string) => void;
}

/**
 * Has workers answer the tasks' questions. `evaluateTasks` with the same journal then asks nothing more.
 * @returns tokens that the workers' scorers read, in all
 * @throws LinnetError like `runJobs`; `MISMATCH` if a worker has another model
 */
export async function answerTasksInQueue(
  tasks: readonly Task[],
  { queue, scorer, identity, data, questions, journal, signal, onProgress }: QueuedTasksOptions,
): Promise<ScorerUsage> {
  const { shots, limit, seed } = questions;
  const jobs = tasks.map((task) => ({
    kind: evalTaskKind,
    title: `task ${task.task}`,
    data: {
      scorer: { ...scorer, model: resolve(scorer.model) },
      identity,
      task,
      data: resolve(data),
      questions: { shots, limit, seed },
    },
  }));
  const usage = { tokensRead: 0, tokensReused: 0, tokensGenerated: 0 };
  let done = 0;
  await runJobs(queue, jobs, {
    signal,
    async onResult(index, value) {
      const result = resultSchema.safeParse(value);
      if (!result.success) throw new LinnetError('FORMAT', 'the queue holds something else than the answers to a task');
      journal.add(result.data.answers);
      for (const count of usageCounts) usage[count] += result.data.usage[count];
      onProgress?.(++done, jobs.length, tasks[index].task);
    },
  });
  return usage;
}

/**
 * Answers queued tasks, continuing from a journal that a lost worker left.
 * @param open opens the scorer that a job describes, for questions it may read, or returns the one already open
 */
export function evalTaskHandler(
  open: (described: ScorerDescription, read: () => Promise<readonly TaskQuestions[]>) => Promise<OpenedScorer>,
): JobHandler {
  return async (value, { signal, folder }) => {
    const job = validated(dataSchema, value, 'INPUT', 'the job is not a task');
    const { scorer: described, identity, task, data, questions } = job;
    const selection = { tasks: [parseTask(task, 'the task of the job')], groups: [] };
    const opened = await open(described, () => readTasks(selection, data, questions));
    if (opened.identity !== identity) {
      throw new LinnetError(
        'MISMATCH',
        `${described.model} is another model on this worker: give all machines the same files`,
      );
    }
    const file = await openJournal(join(folder, 'answers.jsonl'));
    const before = { ...opened.scorer.usage };
    // The caller computes standard errors.
    const options = { ...questions, data, bootstrapIterations: 0, journal: { file, model: identity }, signal };
    await evaluateTasks(selection, opened.scorer, options);
    const usage = { ...opened.scorer.usage };
    for (const count of usageCounts) usage[count] -= before[count];
    return { answers: file.entries(), usage };
  };
}
