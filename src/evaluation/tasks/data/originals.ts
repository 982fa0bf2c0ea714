/** Data sets in the layouts that their authors published, before the hub gave all of them one. */
import { join } from 'node:path';
import type { Row, SourcedRow } from '../../../data/files/parquet-rows.ts';
import { isRow, longestRow, readRows } from '../../../data/files/rows.ts';
import { parseDelimited } from '../../../data/files/delimited.ts';
import { readLines, readTextFile } from '../../../data/files/text-file.ts';
import { LinnetError } from '../../../errors.ts';
import { isJsonObject, parseJson } from '../../../files/json-object.ts';
import { columnOf } from './rows.ts';
import { textOf } from '../preparations.ts';
import type { Task } from '../schema.ts';
import { wikitextPages } from '../text/wikitext.ts';

/** The files of a split, the first of which must exist, and how they become rows. */
export interface OriginalLayout {
  /** Relative to the folder of the data set. @returns undefined for a split that the layout does not have */
  files(split: string, task: Pick<Task, 'dataset_name'>): readonly string[] | undefined;
  rows(paths: readonly string[], task: Pick<Task, 'dataset_name'>): AsyncGenerator<SourcedRow>;
}

/** Names of files by the hub's names of splits. */
function bySplit(names: Readonly<Record<string, readonly string[]>>): OriginalLayout['files'] {
  return (split) => (Object.hasOwn(names, split) ? names[split] : undefined);
}

/** Files whose rows are as they are. */
function plain(names: Readonly<Record<string, readonly string[]>>): OriginalLayout {
  return { files: bySplit(names), rows: ([path]) => readRows(path) };
}

async function* mapped(
  rows: AsyncGenerator<SourcedRow>,
  change: (row: Row, source: string) => Row,
): AsyncGenerator<SourcedRow> {
  for await (const { row, source } of rows) yield { row: change(row, source), source };
}

/** A table without a line of names. @param columns which column is what; numbers from 0 */
async function* columnsOf(
  path: string,
  delimiter: string,
  columns: Readonly<Record<string, number>>,
): AsyncGenerator<SourcedRow> {
  const syntax = { delimiter, quotes: delimiter === ',', maximumRowLength: longestRow };
  const rows = parseDelimited(await readTextFile(path), syntax, path);
  const count = Math.max(...Object.values(columns)) + 1;
  for (const { values, line } of rows) {
    const source = `${path}:${line}`;
    if (values.length < count) {
      throw new LinnetError('FORMAT', `${source} has ${values.length} columns; expected at least ${count}`);
    }
    yield { row: Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, values[column]])), source };
  }
}

/** Replaces a column by its index in a list of names; a number passes. */
function labelled(row: Row, column: string, names: readonly string[], source: string): Row {
  const given = row[column];
  const index = typeof given === 'string' ? names.indexOf(given) : -1;
  if (index >= 0) return { ...row, [column]: index };
  if (typeof given === 'string' && /^\d+$/.test(given) && Number(given) < names.length) {
    return { ...row, [column]: Number(given) };
  }
  throw new LinnetError('FORMAT', `${source}: ${column} is ${JSON.stringify(given)}; expected ${names.join(', ')}`);
}

/** A GLUE table: with a line of names, or without one and with columns by number. */
function glue(labels: readonly string[], columns?: Readonly<Record<string, number>>): OriginalLayout {
  return {
    files: bySplit({
      train: ['train.tsv', 'in_domain_train.tsv'],
      validation: ['dev.tsv', 'in_domain_dev.tsv'],
      validation_matched: ['dev_matched.tsv'],
      validation_mismatched: ['dev_mismatched.tsv'],
    }),
    rows: ([path]) =>
      mapped(columns === undefined ? readRows(path) : columnsOf(path, '\t', columns), (row, source) =>
        labelled(row, 'label', labels, source),
      ),
  };
}

const notFirst = ['0', '1'];
const entailed = ['entailment', 'not_entailment'];

/** PIQA keeps its labels in a file of their own. */
async function* piqa([path, labelPath]: readonly string[]): AsyncGenerator<SourcedRow> {
  const labels = readLines(labelPath, 64);
  for await (const { row, source } of readRows(path)) {
    const label = await labels.next();
    if (label.done === true) throw new LinnetError('FORMAT', `${labelPath} ends before ${source}`);
    const where = `${labelPath}:${label.value.number}`;
    yield { row: labelled({ ...row, label: label.value.text.trim() }, 'label', notFirst, where), source };
  }
}

function arcRow(row: Row, source: string): Row {
  const choices = columnOf(row, 'question.choices');
  if (!Array.isArray(choices)) throw new LinnetError('FORMAT', `${source} has no list question.choices`);
  const of = (name: string) =>
    choices.map((choice) => {
      const value = isRow(choice) ? choice[name] : undefined;
      if (typeof value === 'string') return value;
      throw new LinnetError('FORMAT', `${source}: a choice has no ${name}`);
    });
  const { id = null, answerKey = null } = row;
  const question = columnOf(row, 'question.stem') ?? null;
  return { id, question, choices: { text: of('text'), label: of('label') }, answerKey };
}

async function* mmlu([path]: readonly string[]): AsyncGenerator<SourcedRow> {
  const names = { question: 0, A: 1, B: 2, C: 3, D: 4, answer: 5 };
  for await (const { row, source } of columnsOf(path, ',', names)) {
    if (row.question === 'question' && row.answer === 'answer') continue; // a line of names
    const { question, A = null, B = null, C = null, D = null } = row;
    const answer = labelled(row, 'answer', ['A', 'B', 'C', 'D'], source).answer;
    yield { row: { question, choices: [A, B, C, D], answer }, source };
  }
}

async function* bbh([path]: readonly string[]): AsyncGenerator<SourcedRow> {
  const parsed = parseJson(await readTextFile(path), path);
  const examples = isJsonObject(parsed) ? parsed.examples : null;
  if (!Array.isArray(examples)) throw new LinnetError('FORMAT', `${path} has no list "examples"`);
  for (const [index, example] of examples.entries()) {
    if (!isRow(example)) throw new LinnetError('FORMAT', `${path}: example ${index} is not an object`);
    yield { row: example, source: `${path} example ${index}` };
  }
}

/** By the folder of the data set, as tasks name it. */
export const originalLayouts: Readonly<Record<string, OriginalLayout>> = {
  piqa: {
    files: bySplit({ train: ['train.jsonl', 'train-labels.lst'], validation: ['valid.jsonl', 'valid-labels.lst'] }),
    rows: piqa,
  },
  hellaswag: plain({ train: ['hellaswag_train.jsonl'], validation: ['hellaswag_val.jsonl'] }),
  ...Object.fromEntries(
    ['arc_challenge', 'arc_easy'].map((name): [string, OriginalLayout] => {
      const set = name === 'arc_easy' ? 'ARC-Easy' : 'ARC-Challenge';
      const files = { train: [`${set}-Train.jsonl`], validation: [`${set}-Dev.jsonl`], test: [`${set}-Test.jsonl`] };
      return [name, { files: bySplit(files), rows: ([path]) => mapped(readRows(path), arcRow) }];
    }),
  ),
  copa: plain({ train: ['train.jsonl'], validation: ['val.jsonl'] }),
  glue_cola: glue(notFirst, { sentence: 3, label: 1 }),
  glue_sst2: glue(notFirst, { sentence: 0, label: 1 }),
  glue_mrpc: glue(notFirst, { sentence1: 3, sentence2: 4, label: 0 }),
  glue_qqp: glue(notFirst, { question1: 3, question2: 4, label: 5 }),
  glue_qnli: glue(entailed),
  glue_rte: glue(entailed),
  glue_wnli: glue(notFirst),
  ag_news: {
    files: bySplit({ train: ['train.csv'], test: ['test.csv'] }),
    rows: ([path]) =>
      mapped(columnsOf(path, ',', { label: 0, title: 1, description: 2 }), (row, source) => ({
        text: `${textOf(row.title)} ${textOf(row.description)}`,
        label: Number(labelled(row, 'label', ['0', '1', '2', '3', '4'], source).label) - 1,
      })),
  },
  lambada_openai: {
    files: bySplit({ test: ['lambada_openai.jsonl', 'lambada_test_en.jsonl'] }),
    rows: ([path]) =>
      mapped(readRows(path), (row) =>
        typeof row.context === 'string' && typeof row.continuation === 'string'
          ? { text: `${row.context} ${row.continuation}` }
          : row,
      ),
  },
  wikitext: {
    files: bySplit({ train: ['wiki.train.raw'], validation: ['wiki.valid.raw'], test: ['wiki.test.raw'] }),
    async *rows([path]) {
      for (const [index, page] of wikitextPages(await readTextFile(path)).entries()) {
        yield { row: { page }, source: `${path} page ${index}` };
      }
    },
  },
  mmlu: {
    files: (split, { dataset_name: subject = '' }) => [join(split, `${subject}_${split}.csv`)],
    rows: mmlu,
  },
  bbh: {
    files: (split, { dataset_name: subset = '' }) => (split === 'test' ? [join('bbh', `${subset}.json`)] : undefined),
    rows: bbh,
  },
};
