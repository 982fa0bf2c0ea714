/** Records of named fields from .jsonl, .csv, .tsv and .parquet files, the source of labelled texts and pairs of texts. */
import { extname } from 'node:path';
import { LinnetError } from '../../errors.ts';
import { isJsonObject, parseJson } from '../../files/json-object.ts';
import { plainNames } from '../../files/name-list.ts';
import { parseDelimited } from './delimited.ts';
import { readParquetRows } from './parquet-rows.ts';
import { readLines, readTextFile } from './text-file.ts';

/** Values by the name of their field; numbers and truth values are given as text. */
export interface FieldRecord {
  readonly fields: ReadonlyMap<string, string>;
  /** For messages: `train.tsv:12`. */
  readonly source: string;
}

const maximumLineBytes = 16 << 20;

type Reader = (path: string, hasHeader: boolean) => AsyncGenerator<FieldRecord>;

/** Readers by file name extension. */
const readers: Readonly<Record<string, Reader>> = {
  '.jsonl': readJsonRecords,
  '.csv': (path, hasHeader) => readTable(path, { delimiter: ',', quotes: true }, hasHeader),
  '.tsv': (path, hasHeader) => readTable(path, { delimiter: '\t', quotes: false }, hasHeader),
  '.parquet': readParquetRecords,
};

/** Whether a field is named by the number of a column, counted from 1: the file has no header then. */
function isColumnNumber(field: string): boolean {
  return /^[1-9]\d{0,5}$/.test(field);
}

/**
 * Records of several files in which the given fields have values.
 *
 * A .csv file may quote values; a .tsv file may not, as in GLUE, whose texts hold lone quotation marks. Their first line
 * names the fields, unless fields are asked for by the numbers of columns.
 * @throws LinnetError `INPUT` for files of another kind or fields named in both ways, `FORMAT` (naming file and line) for
 *   malformed contents and records that lack a field
 */
export async function readRecords(paths: readonly string[], fields: readonly string[]): Promise<FieldRecord[]> {
  const numbered = fields.filter(isColumnNumber);
  if (numbered.length > 0 && numbered.length < fields.length) {
    throw new LinnetError('INPUT', `fields are ${fields.join(', ')}; name all of them, or give all as column numbers`);
  }
  const records: FieldRecord[] = [];
  for (const path of paths) {
    const extension = extname(path).toLowerCase();
    if (!Object.hasOwn(readers, extension)) {
      throw new LinnetError('INPUT', `${path}: records are read from ${Object.keys(readers).join(', ')} files`);
    }
    for await (const record of readers[extension](path, numbered.length === 0)) {
      for (const field of fields) {
        if (record.fields.has(field)) continue;
        const has = plainNames([...record.fields.keys()]);
        const isTable = extension !== '.jsonl';
        const advice = isTable
          ? `. The first line names the columns; if it is data already, name columns by their numbers, such as 1`
          : '';
        throw new LinnetError('FORMAT', `${record.source} has no field "${field}"; its fields are: ${has}${advice}`);
      }
      records.push(record);
    }
  }
  return records;
}

async function* readJsonRecords(path: string): AsyncGenerator<FieldRecord> {
  for await (const { text, number } of readLines(path, maximumLineBytes)) {
    if (text.trim() === '') continue;
    const source = `${path}:${number}`;
    const value = parseJson(text, source);
    if (!isJsonObject(value)) throw new LinnetError('FORMAT', `${source} is not a JSON object`);
    yield { fields: simpleFields(value), source };
  }
}

async function* readParquetRecords(path: string): AsyncGenerator<FieldRecord> {
  for await (const { row, source } of readParquetRows(path)) yield { fields: simpleFields(row), source };
}

/** The fields that hold one value, as text. */
function simpleFields(row: object): Map<string, string> {
  const simple = Object.entries(row).filter(([, given]) => ['string', 'number', 'boolean'].includes(typeof given));
  return new Map(simple.map(([name, given]) => [name, String(given)]));
}

async function* readTable(
  path: string,
  syntax: { readonly delimiter: string; readonly quotes: boolean },
  hasHeader: boolean,
): AsyncGenerator<FieldRecord> {
  const rows = parseDelimited(await readTextFile(path), syntax, path);
  const [first] = rows;
  const names = hasHeader ? (first?.values ?? []) : (first?.values ?? []).map((_, column) => String(column + 1));
  for (const { values, line } of hasHeader ? rows.slice(1) : rows) {
    const source = `${path}:${line}`;
    if (values.length !== names.length) {
      throw new LinnetError('FORMAT', `${source} has ${values.length} values; the first line has ${names.length}`);
    }
    yield { fields: new Map(values.map((value, column) => [names[column], value])), source };
  }
}
