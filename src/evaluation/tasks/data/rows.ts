/** Data set rows from untrusted files. */
import { isRow } from '../../../data/files/rows.ts';
import type { Row, RowValue, SourcedRow } from '../../../data/files/parquet-rows.ts';
import { LinnetError } from '../../../errors.ts';
import { plainNames } from '../../../files/name-list.ts';
import { rowProblem } from '../preparations.ts';
import type { columnKinds, Task } from '../schema.ts';

type ColumnKind = (typeof columnKinds)[number];

interface KindCheck {
  readonly expected: string;
  accepts(value: RowValue | undefined): boolean;
}

const wholeNumber = (value: RowValue | undefined): value is number | string =>
  Number.isSafeInteger(value) || (typeof value === 'string' && /^-?\d{1,9}$/.test(value));

const checks: Readonly<Record<ColumnKind, KindCheck>> = {
  text: { expected: 'a text', accepts: (value) => typeof value === 'string' },
  integer: { expected: 'a whole number', accepts: wholeNumber },
  label: {
    expected: 'the number of a class from 0 (test splits without labels cannot be evaluated)',
    accepts: (value) => wholeNumber(value) && Number(value) >= 0,
  },
  float: { expected: 'a number', accepts: (value) => typeof value === 'number' && Number.isFinite(value) },
  texts: {
    expected: 'a list of texts',
    accepts: (value) => Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string'),
  },
};

/**
 * Checks that a row has a task's columns, and that the task can ask their contents.
 * @throws LinnetError `FORMAT` naming file and row
 */
export function checkRow(sourced: SourcedRow, { columns, process_docs }: Pick<Task, 'columns' | 'process_docs'>): void {
  checkColumns(sourced, columns);
  const { row, source } = sourced;
  const texts = Object.keys(columns).filter((name) => columns[name].startsWith('text'));
  const isBlank = (name: string): boolean =>
    [columnOf(row, name)].flat().every((text) => typeof text !== 'string' || text.trim() === '');
  if (texts.length > 0 && texts.every(isBlank)) {
    throw new LinnetError('FORMAT', `${source} is an empty row: there is no text in ${texts.join(', ')}`);
  }
  const problem = rowProblem(process_docs, row);
  if (problem !== undefined) throw new LinnetError('FORMAT', `${source}: ${problem}`);
}

/**
 * Checks that a row has a task's columns.
 * @throws LinnetError `FORMAT` naming file, row and column
 */
export function checkColumns({ row, source }: SourcedRow, columns: Task['columns']): void {
  for (const [name, kind] of Object.entries(columns)) {
    const value = columnOf(row, name);
    if (value === undefined || value === null) {
      const has = plainNames(Object.keys(row), 12);
      throw new LinnetError('FORMAT', `${source} has no column "${name}"; its columns are: ${has}`);
    }
    const check = checks[kind];
    if (!check.accepts(value)) {
      const shown = JSON.stringify(value)?.slice(0, 80);
      throw new LinnetError('FORMAT', `${source}: column "${name}" is ${shown}; expected ${check.expected}`);
    }
  }
}

/** A column or, if the name has dots, one of its fields. */
export function columnOf(row: Row, name: string): RowValue | undefined {
  let value: RowValue | undefined = row;
  for (const part of name.split('.')) {
    if (!isRow(value) || !Object.hasOwn(value, part)) return undefined;
    value = value[part];
  }
  return value;
}
