/** Reading rows from JSON Lines, CSV, TSV and Parquet files. */
import { extname } from 'node:path';
import type { AsyncBuffer } from 'hyparquet';
import { parseDelimited } from '../../../data/delimited.ts';
import { readLines, readTextFile } from '../../../data/text-file.ts';
import { LinnetError } from '../../../errors.ts';
import { openRegularFile } from '../../../files/regular-file.ts';
import { isObject, type Row } from '../preparations.ts';
import { parquetRows } from './parquet.ts';
import type { JsonValue } from '../text/python-json.ts';
import type { SourcedRow } from './rows.ts';

/** Longest line of a .jsonl file, in bytes; the longest articles have some ten thousand. */
const maximumLineBytes = 4 << 20;
const maximumParquetBytes = 1 << 30;

type Reader = (path: string) => AsyncGenerator<SourcedRow>;

/** Readers by file name extension. */
const readers: Readonly<Record<string, Reader>> = {
  '.jsonl': readJsonLines,
  '.parquet': readParquet,
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
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new LinnetError('FORMAT', `${source} is not valid JSON`, { cause });
    }
    if (!isObject(value)) throw new LinnetError('FORMAT', `${source} is not a JSON object`);
    yield { row: value, source };
  }
}

async function* readTable(path: string, delimiter: string, quotes: boolean): AsyncGenerator<SourcedRow> {
  const [first, ...rows] = parseDelimited(await readTextFile(path), { delimiter, quotes }, path);
  if (first === undefined) throw new LinnetError('FORMAT', `${path} is empty; expected a line of column names`);
  for (const { values, line } of rows) {
    const source = `${path}:${line}`;
    if (values.length !== first.values.length) {
      throw new LinnetError('FORMAT', `${source} has ${values.length} values, the first line ${first.values.length}`);
    }
    yield { row: Object.fromEntries(values.map((value, i) => [first.values[i], value])), source };
  }
}

async function* readParquet(path: string): AsyncGenerator<SourcedRow> {
  const { handle, size } = await openRegularFile(path);
  try {
    if (size > maximumParquetBytes) {
      throw new LinnetError('FORMAT', `${path} has ${size} bytes, at most ${maximumParquetBytes} are read`);
    }
    const file: AsyncBuffer = {
      byteLength: size,
      async slice(start, end = size) {
        const first = start < 0 ? size + start : start;
        const bytes = new ArrayBuffer(Math.max(0, Math.min(end, size) - first));
        await handle.read(new Uint8Array(bytes), 0, bytes.byteLength, first);
        return bytes;
      },
    };
    let rows: Record<string, unknown>[];
    try {
      rows = await parquetRows(file);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new LinnetError('FORMAT', `${path} is not a whole Parquet file: ${reason}; download it again`, { cause });
    }
    for (const [index, row] of rows.entries()) {
      const source = `${path} row ${index}`;
      const converted = jsonOf(row, source);
      if (isObject(converted)) yield { row: converted, source };
    }
  } finally {
    await handle.close();
  }
}

/** A value as JSON has it: 64-bit integers become numbers. */
function jsonOf(value: unknown, source: string): JsonValue {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string' || typeof value === 'boolean' || typeof value === 'number') return value;
  if (typeof value === 'bigint') {
    const number = Number(value);
    if (Number.isSafeInteger(number)) return number;
    throw new LinnetError('FORMAT', `${source} holds ${value}, which is too large`);
  }
  if (Array.isArray(value)) return value.map((item: unknown) => jsonOf(item, source));
  if (ArrayBuffer.isView(value)) throw new LinnetError('FORMAT', `${source} holds bytes; expected texts and numbers`);
  if (typeof value === 'object') {
    const fields: Row = Object.fromEntries(Object.entries(value).map(([key, item]) => [key, jsonOf(item, source)]));
    return fields;
  }
  throw new LinnetError('FORMAT', `${source} holds a ${typeof value}`);
}
