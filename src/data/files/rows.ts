/** Rows of .jsonl, .csv, .tsv and .parquet files. */
import { extname } from 'node:path';
import { LinnetError } from '../../errors.ts';
import { isJsonObject, parseJson } from '../../files/json-object.ts';
import { quoteName } from '../../files/name-list.ts';
import { parseDelimited } from './delimited.ts';
import { readParquetRows, type Row, type SourcedRow } from './parquet-rows.ts';
import { readLines, readTextFile } from './text-file.ts';

/** Longest .jsonl line in bytes, and table row in characters; the longest articles have some ten thousand. */
const longestRow = 4 << 20;

export interface RowSyntax {
  /** Default `longestRow`. */
  readonly longest?: number;
  /** Whether a table's first line names its columns; otherwise they are called 1, 2, 3, … Default true. */
  readonly hasHeader?: boolean;
  /** Whether a .jsonl file may have empty lines. Default false. */
  readonly skipsEmpty?: boolean;
}

type Reader = (path: string, syntax: Required<RowSyntax>) => AsyncGenerator<SourcedRow>;

/**
 * Readers by file name extension. A .tsv file may not quote values, as in GLUE, whose texts hold unpaired quotation marks.
 */
const readers: Readonly<Record<string, Reader>> = {
  '.jsonl': readJsonLines,
  '.parquet': readParquetRows,
  '.csv': (path, syntax) => readTable(path, ',', syntax),
  '.tsv': (path, syntax) => readTable(path, '\t', syntax),
};

/** Extensions of row files, in lookup order. */
export const rowExtensions: readonly string[] = Object.keys(readers);

/**
 * A file's rows.
 * @throws LinnetError `INPUT` for another kind of file; `NOT_FOUND`, `PATH`; `FORMAT`, naming file and row
 */
export function readRows(
  path: string,
  { longest = longestRow, hasHeader = true, skipsEmpty = false }: RowSyntax = {},
): AsyncGenerator<SourcedRow> {
  const extension = extname(path).toLowerCase();
  if (!Object.hasOwn(readers, extension)) {
    throw new LinnetError('INPUT', `${path}: rows are read from ${rowExtensions.join(', ')} files`);
  }
  return readers[extension](path, { longest, hasHeader, skipsEmpty });
}

/** Whether a value has fields. */
export function isRow(value: unknown): value is Row {
  return isJsonObject(value);
}

async function* readJsonLines(path: string, { longest, skipsEmpty }: Required<RowSyntax>): AsyncGenerator<SourcedRow> {
  for await (const { text, number } of readLines(path, longest)) {
    const source = `${path}:${number}`;
    if (text.trim() === '') {
      if (skipsEmpty) continue;
      throw new LinnetError('FORMAT', `${source} is an empty line; expected a JSON object`);
    }
    const row = parseJson(text, source);
    if (!isRow(row)) throw new LinnetError('FORMAT', `${source} is not a JSON object; expected {"column": value, …}`);
    yield { row, source };
  }
}

async function* readTable(
  path: string,
  delimiter: string,
  { longest, hasHeader }: Required<RowSyntax>,
): AsyncGenerator<SourcedRow> {
  const syntax = { delimiter, quotes: delimiter === ',', maximumRowLength: longest };
  const rows = parseDelimited(await readTextFile(path), syntax, path);
  const [first] = rows;
  if (first === undefined) throw new LinnetError('FORMAT', `${path} is empty; expected a line of column names`);
  const names = hasHeader ? first.values : first.values.map((_, column) => String(column + 1));
  const repeated = names.find((name, column) => name !== '' && names.indexOf(name) < column);
  if (repeated !== undefined) throw new LinnetError('FORMAT', `${path} has two columns ${quoteName(repeated)}`);
  for (const { values, line } of hasHeader ? rows.slice(1) : rows) {
    const source = `${path}:${line}`;
    if (values.length !== names.length) {
      throw new LinnetError('FORMAT', `${source} has ${values.length} values; the first line has ${names.length}`);
    }
    yield { row: Object.fromEntries(values.map((value, column) => [names[column], value])), source };
  }
}
