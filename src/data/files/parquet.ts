/**
 * Rows of a Parquet file. The library reads columns and groups of rows side by side, and where one of them fails at once the
 * failures of the others go unheard, which ends the process. So they are read one by one, after a check
 * of the metadata.
 */
import {
  type AsyncBuffer,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';

/** Most rows of a file, whatever its size; a larger file may have eight per byte. */
const alwaysAllowedRows = 1_000_000;
const mostRowsPerByte = 8;

/** @throws the library's errors, and Error for a file whose content contradicts its metadata */
export async function parquetRows(file: AsyncBuffer): Promise<Record<string, unknown>[]> {
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

/** The number of rows of each group. */
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
