/** Reading rows from JSON Lines, CSV, TSV and Parquet files. */
import { extname } from 'node:path';
import { parseDelimited } from '../../../data/files/delimited.ts';
import { readParquetRows } from '../../../data/files/parquet-rows.ts';
import { readLines, readTextFile } from '../../../data/files/text-file.ts';
import { LinnetError } from '../../../errors.ts';
import { parseJson } from '../../../files/json-object.ts';
import { isObject } from '../preparations.ts';
import type { SourcedRow } from './rows.ts';

/** Longest line of a .jsonl file in bytes, and row of a table in characters; the longest articles have some ten thousand. */
export const maximumLineBytes = 4 << 20;

type Reader = (path: string) => AsyncGenerator<SourcedRow>;

/** Readers by file name extension. */
const readers: Readonly<Record<string, Reader>> = {
  '.jsonl': readJsonLines,
  '.parquet': readParquetRows,
  '.csv': (path) => readTable(path, ',', true),
  '.tsv': (path) => readTable(path, '\t', false),
};

/** Extensions of files with rows, in the order in which they are looked for. */
export const rowExtensions: readonly string[] = Object.keys(readers);

/**
 * The rows of a file.
 * @throws LinnetError `INPUT` for another kind of file; `NOT_FOUND`, `PATH`; `FORMAT`, naming file and row
 */
export function readRows(path: string): AsyncGenerator<SourcedRow> {
  const extension = extname(path).toLowerCase();
  if (!Object.hasOwn(readers, extension)) {
    throw new LinnetError('INPUT', `${path}: rows are read from ${rowExtensions.join(', ')} files`);
  }
  return readers[extension](path);
}

async function* readJsonLines(path: string): AsyncGenerator<SourcedRow> {
  for await (const { text, number } of readLines(path, maximumLineBytes)) {
    const source = `${path}:${number}`;
    if (text.trim() === '') throw new LinnetError('FORMAT', `${source} is an empty line; expected a JSON object`);
    const value = parseJson(text, source);
    if (!isObject(value)) throw new LinnetError('FORMAT', `${source} is not a JSON object`);
    yield { row: value, source };
  }
}

async function* readTable(path: string, delimiter: string, quotes: boolean): AsyncGenerator<SourcedRow> {
  const syntax = { delimiter, quotes, maximumRowLength: maximumLineBytes };
  const [first, ...rows] = parseDelimited(await readTextFile(path), syntax, path);
  if (first === undefined) throw new LinnetError('FORMAT', `${path} is empty; expected a line of column names`);
  for (const { values, line } of rows) {
    const source = `${path}:${line}`;
    if (values.length !== first.values.length) {
      throw new LinnetError('FORMAT', `${source} has ${values.length} values, the first line ${first.values.length}`);
    }
    yield { row: Object.fromEntries(values.map((value, i) => [first.values[i], value])), source };
  }
}
