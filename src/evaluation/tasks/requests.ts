/** Makes model requests from rows: prompts with their examples, and the answers to score or generate. */
import { isDeepStrictEqual } from 'node:util';
import { range } from 'd3-array';
import type { Row, SourcedRow } from '../../data/files/parquet-rows.ts';
import { LinnetError } from '../../errors.ts';
import { checkRow, columnOf } from './data/rows.ts';
import { findRows } from './data/locate.ts';
import { readPromptFile } from './data/prompt-file.ts';
import { prepare } from './preparations.ts';
import { PythonRandom } from './random/python-random.ts';
import { evaluatedSplit, shotSplit, type Task } from './schema.ts';
import { type FilledTemplate, makeTemplate } from './text/template.ts';

/** Tokens to generate if a task does not say. */
export const defaultGeneratedTokens = 256;

/** How to generate an answer: greedily, up to a stop string. */
type GenerationSettings = Task['generation_kwargs'] & { readonly until: readonly string[] };

export type TaskRequest =
  | { readonly type: 'loglikelihood'; readonly context: string; readonly continuation: string }
  | { readonly type: 'loglikelihood_rolling'; readonly text: string }
  | { readonly type: 'generate_until'; readonly context: string; readonly settings: GenerationSettings };

/** A question: the row, its requests, and the right answer. */
export type Question = ReturnType<ReturnType<typeof promptWriter>>;

export interface QuestionOptions {
  /** Examples before each question. Default: the task's number, otherwise none. */
  readonly shots?: number;
  /** Questions: the first n, or a share below 1. Default: all. */
  readonly limit?: number;
  readonly seed?: number;
}

export type TaskQuestions = Awaited<ReturnType<typeof readQuestions>>;

/**
 * Reads a task's rows and writes its prompts.
 * @param dir the data folder
 * @throws LinnetError `NOT_FOUND` for missing files; `FORMAT` for a broken row, naming it; `INPUT` for too few examples;
 *   `CONFIG` for templates that do not fit the rows
 */
export async function readQuestions(dir: string, task: Task, options: QuestionOptions = {}) {
  // A task that says 0 never has examples.
  const shots = task.num_fewshot === 0 ? 0 : (options.shots ?? task.num_fewshot ?? 0);
  const split = evaluatedSplit(task);
  const rows = (await readSplit(dir, task, split)).slice(task.skip_rows);
  if (rows.length === 0) {
    throw new LinnetError(
      'FORMAT',
      `the ${split} split of task ${task.task} has no more rows than its ${task.skip_rows} examples`,
    );
  }
  const file = await readPromptFile(dir, task);
  const pool =
    shots === 0 ? [] : (file?.samples ?? (await readSplit(dir, task, shotSplit(task))).map(({ row }) => row));
  const questionOf = promptWriter(task, pool, file?.description);
  const choose = shotChoice(task, pool, shots, options.seed ?? defaultFewShotSeed);
  const questions = rows
    .slice(0, limitOf(options.limit, rows.length))
    .map((row, docId) => questionOf(row, docId, choose(row.row)));
  return {
    task,
    shots,
    /** Rows in the split, before the limit. */
    total: rows.length,
    questions,
  };
}

/** The seed of published results. */
const defaultFewShotSeed = 1234;

/**
 * Chooses each question's examples in turn, from one sequence of random numbers: indices in prompt order.
 * @throws LinnetError `INPUT` for a pool with too few rows
 */
function shotChoice(task: Task, pool: readonly Row[], shots: number, seed: number): (question: Row) => number[] {
  if (shots === 0) return () => [];
  const random = new PythonRandom(seed);
  // The published rule. It also applies if both splits are omitted: the question itself is then skipped even though the
  // examples come from another split, and one more is drawn than needed.
  const excludesQuestion = task.fewshot_split === task.test_split;
  const drawn = shots + (excludesQuestion ? 1 : 0);
  if (pool.length < drawn) {
    throw new LinnetError(
      'INPUT',
      `task ${task.task} has ${pool.length} rows to take examples from; ${shots} shots need ${drawn}`,
    );
  }
  const first = range(drawn);
  return (question) =>
    (task.fewshot_config.sampler === 'first_n' ? first : random.sampleIndices(pool.length, drawn))
      .filter((index) => !excludesQuestion || !isDeepStrictEqual(pool[index], question))
      .slice(0, shots);
}

function limitOf(limit: number | undefined, total: number): number {
  if (limit === undefined) return total;
  return limit < 1 ? Math.ceil(total * limit) : Math.floor(limit);
}

async function readSplit(dir: string, task: Task, split: string): Promise<SourcedRow[]> {
  const rows: SourcedRow[] = [];
  const found = await findRows(dir, task, split);
  for await (const row of found.rows) {
    checkRow(row, task);
    rows.push(row);
  }
  if (rows.length > 0) return rows;
  throw new LinnetError(
    'FORMAT',
    `${found.files.join(', ')} has no rows; task ${task.task} has its ${split} split there`,
  );
}

/** Writes a task's prompts. @param pool rows to take examples from */
function promptWriter(task: Task, pool: readonly Row[], description: string | undefined) {
  const { process_docs: preparation, doc_to_choice: listed, target_delimiter: delimiter } = task;
  const template = (source: string, field: string): FilledTemplate =>
    makeTemplate(source, `${field} of task ${task.task}`);
  const describe = description === undefined ? template(task.description, 'description') : () => description;
  const textOf = template(task.doc_to_text, 'doc_to_text');
  const targetOf = template(task.doc_to_target, 'doc_to_target');
  const templates = Array.isArray(listed) ? listed.map((choice) => template(choice, 'doc_to_choice')) : undefined;
  const settings = generationSettings(task);
  const examples = new Map<number, string>();

  /** The row with the templates' columns, its text, choices and right answer. */
  function filled(doc: Row, source: string) {
    const row = prepare(preparation, doc);
    const choices = templates?.map((choice) => choice(row)) ?? choicesIn(row, listed, source);
    const target = targetOf(row);
    const gold = choices.length === 0 ? -1 : goldIndex(target, choices, source);
    return { row, choices, target, gold };
  }

  /** An example with its answer and the separator from the next. */
  function example(index: number): string {
    const known = examples.get(index);
    if (known !== undefined) return known;
    const { row, choices, target, gold } = filled(pool[index], `example ${index} of task ${task.task}`);
    const text = textOf(row) + delimiter + (choices.at(gold) ?? target) + task.fewshot_delimiter;
    examples.set(index, text);
    return text;
  }

  return ({ row: doc, source }: SourcedRow, docId: number, shots: readonly number[]) => {
    const { row, choices, target, gold } = filled(doc, source);
    const context = describe(row) + shots.map(example).join('') + textOf(row);
    const requests: Readonly<Record<Task['output_type'], () => TaskRequest[]>> = {
      multiple_choice: () =>
        choices.map((choice) => ({ type: 'loglikelihood', context, continuation: delimiter + choice })),
      loglikelihood: () => [{ type: 'loglikelihood', context, continuation: target }],
      loglikelihood_rolling: () => [{ type: 'loglikelihood_rolling', text: context }],
      generate_until: () => [{ type: 'generate_until', context, settings }],
    };
    return {
      docId,
      /** The row as stored. */
      doc,
      /** The row with the templates' columns. */
      row,
      /** Indices of its examples in the pool. */
      shots,
      /** A multiple choice's texts, without the delimiter. */
      choices,
      /** Index of the right choice; −1 for other tasks. */
      gold,
      /** The row's right answer: an index as text, or a text. */
      target,
      requests: requests[task.output_type](),
    };
  };
}

/** The choices in a row's column; none without a column. @throws LinnetError `FORMAT` for a column with other values */
function choicesIn(row: Row, column: Task['doc_to_choice'], source: string): string[] {
  if (typeof column !== 'string') return [];
  const list = columnOf(row, column);
  if (Array.isArray(list) && list.length >= 2) return list.map(String);
  throw new LinnetError('FORMAT', `${source}: ${column} is not a list of two or more choices`);
}

function generationSettings({ generation_kwargs: given, fewshot_delimiter }: Task): GenerationSettings {
  const until = given?.until ?? [fewshot_delimiter];
  if (given !== undefined) return { ...given, until };
  return { temperature: 0, do_sample: false, max_gen_toks: defaultGeneratedTokens, until };
}

/** @throws LinnetError `FORMAT` for a target that is not one of the choices */
function goldIndex(target: string, choices: readonly string[], source: string): number {
  const index = /^-?\d+$/.test(target) ? Number(target) : choices.indexOf(target);
  if (index >= 0 && index < choices.length) return index;
  const given = JSON.stringify(target.slice(0, 80));
  throw new LinnetError('FORMAT', `${source}: the answer is ${given}, which is none of the ${choices.length} choices`);
}
