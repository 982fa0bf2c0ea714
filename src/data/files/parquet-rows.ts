/**
 * Rows of Parquet files, the Hugging Face hub's data set format: texts, numbers, and lists and groups of them. The library
 * reads columns and row groups concurrently; when one fails, the others' rejections go unhandled, which ends the process. So
 * this reads them one by one, after checking the metadata.
 */
import {
  type AsyncBuffer,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { LinnetError, reasonOf } from '../../errors.ts';
import { openRegularFile, readExactly } from '../../files/regular-file.ts';

const maximumBytes = 1 << 30;

/** A row's value, as JSON, CSV and Parquet hold it. */
export type RowValue = string | number | boolean | null | readonly RowValue[] | { readonly [key: string]: RowValue };

/** A data set's row: values by column. */
export type Row = Readonly<Record<string, RowValue>>;

/** A row and its place, for messages: `validation.parquet row 12`, `validation.jsonl:12`. */
export interface SourcedRow {
  readonly row: Row;
  readonly source: string;
}

/**
 * A file's rows, counted from 0.
 * @throws LinnetError `NOT_FOUND`, `PATH`; `FORMAT` for a damaged, truncated or too large file, and for values that are
 *   neither texts nor numbers, naming the row
 */
export async function* readParquetRows(path: string): AsyncGenerator<SourcedRow> {
  await using opened = await openRegularFile(path);
  const { handle, size } = opened;
  if (size > maximumBytes) {
    throw new LinnetError('FORMAT', `${path} has ${size} bytes, at most ${maximumBytes} are read`);
  }
  const file: AsyncBuffer = {
    byteLength: size,
    async slice(start, end = size) {
      const first = start < 0 ? size + start : start;
      const bytes = new ArrayBuffer(Math.max(0, Math.min(end, size) - first));
      await readExactly(handle, new Uint8Array(bytes), first, path);
      return bytes;
    },
  };
  let rows: Record<string, unknown>[];
  try {
    rows = await parquetRows(file);
  } catch (cause) {
    if (cause instanceof LinnetError) throw cause;
    throw new LinnetError('FORMAT', `${path} is not a whole Parquet file: ${reasonOf(cause)}; download it again`, {
      cause,
    });
  }
  for (const [index, row] of rows.entries()) {
    const source = `${path} row ${index + 1}`;
    yield { row: fieldsOf(row, source), source };
  }
}

function fieldsOf(row: object, source: string): Record<string, RowValue> {
  return Object.fromEntries(Object.entries(row).map(([key, item]) => [key, plain(item, source)]));
}

/** A value as JSON has it: 64-bit integers become numbers. */
function plain(value: unknown, source: string): RowValue {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string' || typeof value === 'boolean' || typeof value === 'number') return value;
  if (typeof value === 'bigint') {
    const number = Number(value);
    if (Number.isSafeInteger(number)) return number;
    throw new LinnetError('FORMAT', `${source} holds ${value}, which is too large`);
  }
  if (Array.isArray(value)) return value.map((item: unknown) => plain(item, source));
  if (ArrayBuffer.isView(value)) throw new LinnetError('FORMAT', `${source} holds bytes; expected texts and numbers`);
  if (typeof value === 'object') return fieldsOf(value, source);
  throw new LinnetError('FORMAT', `${source} holds a ${typeof value}`);
}

/** Rows allowed in any file; larger files may have eight per byte. */
const alwaysAllowedRows = 1_000_000;
const mostRowsPerByte = 8;

/** @throws the library's errors, and Error for a file that contradicts its metadata */
async function parquetRows(file: AsyncBuffer): Promise<Record<string, unknown>[]> {
  const metadata = await parquetMetadataAsync(file);
  const columns = parquetSchema(metadata).children.map(({ element }) => element.name);
  const counts = checkedGroups(metadata, file.byteLength);
  const rows: Record<string, unknown>[] = [];
  for (const count of counts) {
    const rowStart = rows.length;
    for (let row = 0; row < count; row++) rows.push({});
    for (const column of columns) {
      const range = { rowStart, rowEnd: rowStart + count };
      const part = await parquetReadObjects({ file, metadata, compressors, columns: [column], ...range });
      for (const [row, values] of part.entries()) {
        // Not by assignment: a column may be called __proto__.
        const value: unknown = values[column];
        const described = { value, enumerable: true, writable: true, configurable: true };
        if (row < count) Object.defineProperty(rows[rowStart + row], column, described);
      }
    }
  }
  return rows;
}

/** Number of rows per group. */
function checkedGroups({ row_groups: groups, schema }: FileMetaData, bytes: number): number[] {
  const names = new Set(schema.map(({ name }) => name));
  const most = Math.max(alwaysAllowedRows, mostRowsPerByte * bytes);
  let total = 0;
  return groups.map(({ num_rows: rows, columns }) => {
    const count = Number(rows);
    total += count;
    if (!(Number.isSafeInteger(count) && count >= 0 && total <= most)) throw new Error(`it has ${total} rows`);
    for (const { meta_data: described } of columns) {
      const unknown = described?.path_in_schema.find((name) => !names.has(name));
      if (described === undefined || unknown !== undefined) throw new Error('a column is not in its schema');
    }
    return count;
  });
}
