/** From rows to requests to a model: prompts with their examples, and the answers to score or to generate. */
import { isDeepStrictEqual } from 'node:util';
import type { Row, SourcedRow } from '../../data/files/parquet-rows.ts';
import { LinnetError } from '../../errors.ts';
import { checkRow, columnOf } from './data/rows.ts';
import { findRows } from './data/locate.ts';
import { readPromptFile } from './data/prompt-file.ts';
import { prepare } from './preparations.ts';
import { PythonRandom } from './random/python-random.ts';
import { evaluatedSplit, shotSplit, type Task } from './schema.ts';
import { type FilledTemplate, makeTemplate } from './text/template.ts';

/** Tokens that are generated where a task does not say. */
export const defaultGeneratedTokens = 256;

/** How an answer is generated: greedily, up to a stop string. */
type GenerationSettings = Task['generation_kwargs'] & { readonly until: readonly string[] };

export type TaskRequest =
  | { readonly type: 'loglikelihood'; readonly context: string; readonly continuation: string }
  | { readonly type: 'loglikelihood_rolling'; readonly text: string }
  | { readonly type: 'generate_until'; readonly context: string; readonly settings: GenerationSettings };

/** A question: the row, its requests, and the right answer. */
export interface Question {
  readonly docId: number;
  /** The row as it is stored. */
  readonly doc: Row;
  /** The row with the columns that templates see. */
  readonly row: Row;
  /** Indices of its examples in the rows they are taken from. */
  readonly shots: readonly number[];
  readonly requests: readonly TaskRequest[];
  /** Texts of a multiple choice, without the delimiter. */
  readonly choices: readonly string[];
  /** Index of the right choice; −1 for other tasks. */
  readonly gold: number;
  /** The row's right answer: an index as text, or a text. */
  readonly target: string;
}

export interface QuestionOptions {
  /** Examples in front of each question. Default: the task's number, else none. */
  readonly shots?: number;
  /** Questions: a number of the first, or a share below 1. Default: all. */
  readonly limit?: number;
  readonly seed?: number;
}

export interface TaskQuestions {
  readonly task: Task;
  readonly shots: number;
  /** Rows of the split, before the limit. */
  readonly total: number;
  readonly questions: readonly Question[];
}

/**
 * Reads the rows of a task and writes its prompts.
 * @param dir the folder of all data
 * @throws LinnetError `NOT_FOUND` for missing files; `FORMAT` for a broken row, naming it; `INPUT` for too few examples;
 *   `CONFIG` for templates that do not fit the rows
 */
export async function readQuestions(dir: string, task: Task, options: QuestionOptions = {}): Promise<TaskQuestions> {
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
  const writer = new PromptWriter(task, pool, file?.description);
  const choose = shotChoice(task, pool, shots, options.seed ?? defaultFewShotSeed);
  const questions = rows
    .slice(0, limitOf(options.limit, rows.length))
    .map((row, docId) => writer.question(row, docId, choose(row.row)));
  return { task, shots, total: rows.length, questions };
}

/** The seed of published results. */
const defaultFewShotSeed = 1234;

/**
 * Chooses the examples of one question after the other, with random numbers that run on: indices in the order of the prompt.
 * @throws LinnetError `INPUT` for a pool of too few rows
 */
function shotChoice(task: Task, pool: readonly Row[], shots: number, seed: number): (question: Row) => number[] {
  if (shots === 0) return () => [];
  const random = new PythonRandom(seed);
  // The published rule, which also holds where both are left out: the question itself is then drawn around even though
  // the examples come from another split, and one more is drawn than needed.
  const excludesQuestion = task.fewshot_split === task.test_split;
  const drawn = shots + (excludesQuestion ? 1 : 0);
  if (pool.length < drawn) {
    throw new LinnetError(
      'INPUT',
      `task ${task.task} has ${pool.length} rows to take examples from; ${shots} shots need ${drawn}`,
    );
  }
  const first = Array.from({ length: drawn }, (_, index) => index);
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

class PromptWriter {
  readonly #task: Task;
  readonly #pool: readonly Row[];
  readonly #description: FilledTemplate;
  readonly #text: FilledTemplate;
  readonly #target: FilledTemplate;
  readonly #choices: readonly FilledTemplate[] | string | undefined;
  readonly #settings: GenerationSettings;
  readonly #examples = new Map<number, string>();

  constructor(task: Task, pool: readonly Row[], description: string | undefined) {
    const template = (source: string, field: string): FilledTemplate =>
      makeTemplate(source, `${field} of task ${task.task}`);
    this.#task = task;
    this.#pool = pool;
    this.#description = description === undefined ? template(task.description, 'description') : () => description;
    this.#text = template(task.doc_to_text, 'doc_to_text');
    this.#target = template(task.doc_to_target, 'doc_to_target');
    const { doc_to_choice: choices } = task;
    this.#choices = typeof choices === 'object' ? choices.map((choice) => template(choice, 'doc_to_choice')) : choices;
    this.#settings = generationSettings(task);
  }

  question({ row: doc, source }: SourcedRow, docId: number, shots: readonly number[]): Question {
    const row = prepare(this.#task.process_docs, doc);
    const choices = this.#choicesOf(row, source);
    const target = this.#target(row);
    const gold = choices.length === 0 ? -1 : goldIndex(target, choices, source);
    const examples = shots.map((index) => this.#example(index)).join('');
    const context = this.#description(row) + examples + this.#text(row);
    return {
      docId,
      doc,
      row,
      shots,
      choices,
      gold,
      target,
      requests: this.#requests(context, choices, target),
    };
  }

  #requests(context: string, choices: readonly string[], target: string): TaskRequest[] {
    const forms: Readonly<Record<Task['output_type'], () => TaskRequest[]>> = {
      multiple_choice: () =>
        choices.map((choice) => ({
          type: 'loglikelihood',
          context,
          continuation: this.#task.target_delimiter + choice,
        })),
      loglikelihood: () => [{ type: 'loglikelihood', context, continuation: target }],
      loglikelihood_rolling: () => [{ type: 'loglikelihood_rolling', text: context }],
      generate_until: () => [{ type: 'generate_until', context, settings: this.#settings }],
    };
    return forms[this.#task.output_type]();
  }

  /** An example with its answer and the separator from the next. */
  #example(index: number): string {
    const known = this.#examples.get(index);
    if (known !== undefined) return known;
    const source = `example ${index} of task ${this.#task.task}`;
    const row = prepare(this.#task.process_docs, this.#pool[index]);
    const target = this.#target(row);
    const choices = this.#choicesOf(row, source);
    const answer = choices.length === 0 ? target : choices[goldIndex(target, choices, source)];
    const text = this.#text(row) + this.#task.target_delimiter + answer + this.#task.fewshot_delimiter;
    this.#examples.set(index, text);
    return text;
  }

  #choicesOf(row: Row, source: string): string[] {
    if (this.#choices === undefined) return [];
    if (typeof this.#choices !== 'string') return this.#choices.map((choice) => choice(row));
    const list = columnOf(row, this.#choices);
    if (Array.isArray(list) && list.length >= 2) return list.map(String);
    throw new LinnetError('FORMAT', `${source}: ${this.#choices} is not a list of two or more choices`);
  }
}

function generationSettings({ generation_kwargs: given, fewshot_delimiter }: Task): GenerationSettings {
  const until = given?.until ?? [fewshot_delimiter];
  if (given !== undefined) return { ...given, until };
  return { temperature: 0, do_sample: false, max_gen_toks: defaultGeneratedTokens, until };
}

/** @throws LinnetError `FORMAT` for a target that is none of the choices */
function goldIndex(target: string, choices: readonly string[], source: string): number {
  const index = /^-?\d+$/.test(target) ? Number(target) : choices.indexOf(target);
  if (index >= 0 && index < choices.length) return index;
  const given = JSON.stringify(target.slice(0, 80));
  throw new LinnetError('FORMAT', `${source}: the answer is ${given}, which is none of the ${choices.length} choices`);
}
