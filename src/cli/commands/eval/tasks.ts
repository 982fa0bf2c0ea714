/** `linnet eval tasks`: benchmarks, with the prompts and numbers of lm-evaluation-harness. */
import { join } from 'node:path';
import { z } from 'zod';
import { ifFound, LinnetError } from '../../../errors.ts';
import { compareResults } from '../../../evaluation/tasks/comparison/compare.ts';
import { type ModelResults, readResults } from '../../../evaluation/tasks/comparison/result-files.ts';
import { openJournal } from '../../../evaluation/tasks/journal.ts';
import type { TaskSummary } from '../../../evaluation/tasks/judging.ts';
import { defaultBootstrapIterations } from '../../../evaluation/tasks/metrics/statistics.ts';
import { answerTasksInQueue, type ScorerDescription } from '../../../evaluation/tasks/queued.ts';
import { protocols, selectTasks, taskNames, type TaskSelection } from '../../../evaluation/tasks/registry.ts';
import {
  requestLine,
  resultsObject,
  type EvaluationDescription,
  sampleLines,
  sanitizedName,
} from '../../../evaluation/tasks/results.ts';
import { evaluateTasks, readTasks } from '../../../evaluation/tasks/run.ts';
import type { Task } from '../../../evaluation/tasks/schema.ts';
import { isTaskFile, readTaskFile } from '../../../evaluation/tasks/task-file.ts';
import { makeFolder, makeTemporaryFolder, writeFileAtomic } from '../../../files/atomic.ts';
import { describeSoftware } from '../../../report/provenance.ts';
import { fixed, formatCount } from '../../../report/quantities.ts';
import { type Column, textTable } from '../../../report/table.ts';
import {
  defineCommand,
  engineOptions,
  flag,
  optional,
  requiredList,
  withDefault,
  settings,
} from '../../framework/command.ts';
import type { CommandContext } from '../../framework/context.ts';
import { UsageError } from '../../framework/exit-codes.ts';
import {
  called,
  choice,
  filePath,
  folderPath,
  integer,
  redisUrl,
  text,
  type ValueKind,
} from '../../framework/option-values.ts';
import { modelHere } from '../../../open/model-names.ts';
import { formOptions } from '../../options/memory-option.ts';
import { openTaskScorer, planTaskScorer } from '../../options/task-scorer.ts';
import { reportForms } from '../../output/training-report.ts';
import { comparisonTable } from '../../output/task-comparison.ts';
import type { JsonObject } from '../../../files/json-object.ts';

const defaultLimit = 200;

const limitKind: ValueKind<number | 'all'> = {
  schema: z.string().transform((text, context) => {
    if (text === 'all') return text;
    const limit = Number(text);
    const valid = /^\d+$/.test(text) ? limit >= 1 : /^0?\.\d+$/.test(text) && limit > 0;
    if (valid && Number.isFinite(limit)) return limit;
    context.addIssue({ code: 'custom', input: text });
    return z.NEVER;
  }),
  expects: 'a number of questions from 1, a share below 1, or all',
  placeholder: 'count',
};

type Seeds = EvaluationDescription['seeds'];

const seedsKind: ValueKind<Seeds> = {
  schema: z
    .string()
    .regex(/^\d{1,10}(,\d{1,10}){3}$|^\d{1,10}$/)
    .transform((given): Seeds => {
      const [first, second = first, third = first, fourth = first] = given.split(',').map(Number);
      return [first, second, third, fourth];
    }),
  expects: 'a whole number, or four with commas between them (python, numpy, torch, few-shot)',
  placeholder: 'numbers',
};

const defaultSeeds: Seeds = [0, 1234, 1234, 1234];

const taskOptions = {
  tasks: optional(called('names', text), 'tasks and groups, .json or .yaml files of tasks, with commas between them'),
  data: optional(folderPath, 'folder with the data of all tasks'),
  shots: optional(integer(0, 1000), "examples before each question (default: the task's, else 0)"),
  limit: optional(limitKind, `questions per task: the first N, a share below 1, or all (default: ${defaultLimit})`),
  seed: optional(seedsKind, `seeds of python, numpy, torch and few-shot (default: ${defaultSeeds.join(',')})`),
  protocol: withDefault(
    choice(protocols),
    'harness',
    "harness, or instruct-eval for the paper's 5-shot MMLU and 3-shot BBH",
  ),
  maxLength: optional(integer(2, 1 << 24, 'tokens'), 'cut the beginning of longer prompts (default: trained length)'),
  out: optional(folderPath, 'folder for results and samples'),
  queue: optional(redisUrl, 'let machines running `linnet work` answer the tasks, one each at a time'),
  ...formOptions,
  ...engineOptions,
  ...settings({
    context: withDefault(
      choice(['windows', 'unlimited'], 'kind'),
      'windows',
      'how to read whole texts: in windows of --max-length, or unlimited, which measures something else',
    ),
    addBos: withDefault(
      choice(['auto', 'yes', 'no'], 'choice'),
      'auto',
      "whether texts begin with BOS; auto follows the tokenizer's files",
    ),
    bootstrap: withDefault(
      integer(0, 1_000_000),
      defaultBootstrapIterations,
      'resamples for standard errors that have no formula; 0 leaves them out',
    ),
    writeRequests: optional(filePath, 'write the requests, one JSON line each, without running a model'),
    speculate: withDefault(
      choice(['off', 'lookup'], 'drafter'),
      'off',
      'generate answers several tokens a step: lookup (repetitions in the text). Answers stay the same',
    ),
    alone: flag('read every request whole, to measure what shared beginnings save'),
  }),
};

export const evalTasks = defineCommand({
  description:
    'Asks models the questions of benchmarks and counts what it gets right. Prompts, examples, metrics and standard ' +
    'errors are those of lm-evaluation-harness, so that numbers can be laid next to published ones. What many questions ' +
    'begin with, such as their examples, is read once. Data is read from --data and never downloaded. With --out, ' +
    'results_*.json and samples_*.jsonl are written in the format of the harness, and a run that was stopped goes on ' +
    `where it was when the same command is given again. Several models, or folders of stored results, are compared with ` +
    `the first, by paired errors.\n\nTasks and groups: ${taskNames().join(', ')}.`,
  examples: [
    'linnet eval tasks runs/augmented --tasks piqa,copa,arc_challenge --data data',
    'linnet eval tasks runs/augmented --tasks mmlu --shots 5 --limit all --data data --out results --json',
    'linnet eval tasks models/llama runs/augmented --tasks piqa --data data --out results',
    'linnet eval tasks results/models_llama results/runs_augmented',
    'linnet eval tasks runs/augmented --tasks mmlu,bbh --protocol instruct-eval --data data',
    'linnet eval tasks runs/augmented --tasks ./mine.yaml --data data',
    'linnet eval tasks runs/augmented --tasks hellaswag --shots 10 --data data --write-requests requests.jsonl',
  ],
  arguments: { models: requiredList(folderPath, 'folders of models, exported or not, or of stored results') },
  options: taskOptions,
  writes: ['writeRequests'],
  async run(context, { models, ...options }) {
    const stored = await Promise.all(models.map((path) => ifFound(readResults(path)).then((results = []) => results)));
    const { tasks: names, data, writeRequests: requestFile } = options;
    if (requestFile === undefined && stored.every((results) => results.length > 0)) {
      return { json: await compared(context, stored.flat()) };
    }
    if (names === undefined || data === undefined) {
      throw new UsageError('give --tasks, the tasks to run, and --data, the folder with their data');
    }
    const selection = await selectionOf(names, options.protocol);
    if (requestFile !== undefined) {
      const count = await writeRequests(requestFile, selection, data, questionsOf(options));
      context.print(`wrote ${formatCount(count)} requests to ${requestFile}`);
      return { json: { requests: count, path: requestFile } };
    }
    if (options.plan) {
      const asked = { read: () => readTasks(selection, data, questionsOf(options)), memory: options.memory };
      const stages = [];
      for (const name of models) {
        stages.push({ name, ...(await planTaskScorer(await describedScorer(name, options), asked)) });
      }
      return reportForms(context, stages, options.memory);
    }
    await using scratch =
      options.out === undefined && models.length > 1 ? await makeTemporaryFolder('tasks') : undefined;
    const asked = { ...options, data, selection, out: options.out ?? scratch?.path };
    if (models.length === 1) return { json: (await evaluateModel(context, models[0], asked)).json };
    const results: ModelResults[] = [];
    for (const [index, model] of models.entries()) {
      const ready = stored[index];
      const folder = ready.length > 0 ? undefined : (await evaluateModel(context, model, asked)).folder;
      results.push(...(folder === undefined ? ready : await readResults(folder)));
    }
    return { json: await compared(context, results, scratch && stored.flat()) };
  },
});

type TaskOptions = z.output<z.ZodObject<typeof taskOptions>>;

function questionsOf({ shots, limit = defaultLimit, seed = defaultSeeds }: TaskOptions) {
  return { shots, limit: limit === 'all' ? undefined : limit, seed: seed[3] };
}

/**
 * Prints the table of several models.
 * @param kept those whose files stay, which the JSON names; others lie in a folder that will be removed
 * @throws LinnetError `INPUT` for one; `MISMATCH` if questions differ
 */
async function compared(
  context: CommandContext,
  results: readonly ModelResults[],
  kept = results,
): Promise<JsonObject> {
  const tasks = await compareResults(results);
  context.print(
    textTable(
      comparisonTable(
        tasks,
        results.map(({ model }) => model),
      ),
    ),
  );
  return {
    models: results.map((result) => ({ model: result.model, file: kept.includes(result) ? result.file : undefined })),
    tasks: tasks.map(({ task, metrics }) => ({
      task,
      metrics: metrics.map(({ key, values, differences }) => ({ metric: key, values, differences })),
    })),
  };
}

async function describedScorer(path: string, options: TaskOptions): Promise<ScorerDescription> {
  const { maxLength, context, alone, speculate, addBos } = options;
  const model = await modelHere(path);
  return {
    model,
    maxLength,
    context,
    sharing: !alone,
    speculate,
    bos: addBos === 'auto' ? undefined : addBos === 'yes',
  };
}

/** Asks one model, prints its numbers, and writes them into a folder of its name in `out`. */
async function evaluateModel(
  context: CommandContext,
  path: string,
  options: TaskOptions & { readonly data: string; readonly selection: TaskSelection },
): Promise<{ readonly json: JsonObject; readonly folder: string | undefined }> {
  const { selection, seed: seeds = defaultSeeds } = options;
  const questions = questionsOf(options);
  const { data, queue, protocol, bootstrap: bootstrapIterations } = options;
  const started = performance.now();
  const date = Date.now() / 1000;
  const described = await describedScorer(path, options);
  const compile = { device: options.device, threads: options.threads };
  const read = () => readTasks(selection, data, questions);
  const plan = await planTaskScorer(described, { read, memory: options.memory });
  await using opened = await openTaskScorer(described, compile, plan.form);
  const { scorer, identity, parameterCount: parameters, stateBytes } = opened;
  const folder = options.out === undefined ? undefined : join(options.out, sanitizedName(path));
  await using own = folder === undefined && queue !== undefined ? await makeTemporaryFolder('tasks') : undefined;
  const place = folder ?? own?.path;
  const file = place === undefined ? undefined : await openJournal(join(place, 'answers.partial.jsonl'));
  const journal = file && { file, model: identity };
  const elsewhere =
    file !== undefined && queue !== undefined
      ? await context.withProgress('tasks', 'tasks', (hooks) =>
          answerTasksInQueue(selection.tasks, {
            queue,
            scorer: described,
            identity,
            data,
            questions,
            journal: file,
            ...hooks,
          }),
        )
      : undefined;
  const result = await context.withProgress('tasks', 'questions', (hooks) =>
    evaluateTasks(selection, scorer, { ...questions, data, bootstrapIterations, journal, ...hooks }),
  );
  const usage = elsewhere ?? scorer.usage;
  const object = resultsObject(result, selection.groups, {
    model: path,
    version: describeSoftware().linnet,
    protocol,
    limit: questions.limit,
    bootstrapIterations,
    seeds,
    date,
    maxLength: scorer.maxLength,
    bos: scorer.bos,
    ...usage,
    parameters,
    stateBytes,
    elapsed: (performance.now() - started) / 1000,
  });
  const files: string[] = [];
  if (folder !== undefined) {
    const stamp = new Date(date * 1000).toISOString().replaceAll(':', '-').replace('Z', '');
    await makeFolder(folder);
    const write = async (name: string, content: string): Promise<void> => {
      files.push(join(folder, name));
      await writeFileAtomic(join(folder, name), content);
    };
    for (const task of result.tasks) {
      const lines = sampleLines(task).map((line) => `${JSON.stringify(line)}\n`);
      await write(`samples_${task.task.task}_${stamp}.jsonl`, lines.join(''));
    }
    await write(`results_${stamp}.json`, `${JSON.stringify(object, null, 2)}\n`);
    await file?.remove();
  }
  printSummaries(context, [...result.tasks.map(({ summary }) => summary), ...result.groups]);
  const cut = result.tasks.filter(({ answers, total }) => answers.length < total);
  if (cut.length > 0 && options.limit === undefined) {
    context.note(`${cut.length} tasks have more than ${defaultLimit} questions; --limit all asks all of them`);
  }
  context.print(
    `\n${formatCount(usage.tokensRead)} prompt tokens read, ${formatCount(usage.tokensReused)} not read again, ` +
      `${formatCount(usage.tokensGenerated)} generated in ${formatCount(scorer.generationSteps)} steps`,
  );
  const { results, groups, 'n-shot': shots, 'n-samples': samples } = object;
  const { generationSteps } = scorer;
  const counted = { ...usage, generationSteps };
  return { json: { results, groups, 'n-shot': shots, 'n-samples': samples, ...counted, ...plan, files }, folder };
}

/** Names, and files of tasks; each task once. */
async function selectionOf(names: string, protocol: (typeof protocols)[number]): Promise<TaskSelection> {
  const words = names.split(',').flatMap((name) => name.trim() || []);
  const listed = words.filter((name) => !isTaskFile(name));
  const builtIn = selectTasks(listed, protocol);
  const own: Task[] = [];
  for (const file of words.filter(isTaskFile)) own.push(await readTaskFile(file));
  const tasks = [...builtIn.tasks, ...own];
  const seen = new Set<string>();
  for (const { task } of tasks) {
    if (seen.has(task)) throw new LinnetError('INPUT', `two tasks are called "${task}"; rename the one in your file`);
    seen.add(task);
  }
  if (tasks.length === 0) throw new LinnetError('INPUT', `--tasks names no task; there are ${taskNames().join(', ')}`);
  return { tasks, groups: builtIn.groups };
}

async function writeRequests(
  file: string,
  selection: TaskSelection,
  data: string,
  options: Parameters<typeof readTasks>[2],
): Promise<number> {
  const lines = (await readTasks(selection, data, options)).flatMap(({ task, questions }) =>
    questions.flatMap((question) => question.requests.map((request) => requestLine(task.task, question, request))),
  );
  await writeFileAtomic(file, async (handle) => {
    for (const line of lines) await handle.write(`${JSON.stringify(line)}\n`);
  });
  return lines.length;
}

interface SummaryRow {
  readonly task: string;
  readonly size: number;
  readonly metric: string;
  readonly value: number;
  readonly error: number | undefined;
}

const columns: readonly Column<SummaryRow>[] = [
  { header: 'task', value: 'task' },
  { header: 'n', value: 'size', format: formatCount },
  { header: 'metric', value: 'metric' },
  { header: 'value', value: 'value', format: fixed(4) },
  { header: '± error', value: 'error', format: fixed(4) },
];

function printSummaries(context: CommandContext, summaries: readonly TaskSummary[]): void {
  const rows = summaries.flatMap(({ task, size, values }) =>
    Object.entries(values).flatMap(([key, value]): SummaryRow[] => {
      const [metric, filter] = key.split(',');
      if (filter === undefined || metric.endsWith('_stderr') || typeof value !== 'number') return [];
      const error = values[`${metric}_stderr,${filter}`];
      const name = filter === 'none' ? metric : `${metric} (${filter})`;
      return [{ task, size, metric: name, value, error: typeof error === 'number' ? error : undefined }];
    }),
  );
  context.table(rows, columns);
}
