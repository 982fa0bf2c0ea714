/** Records with named fields from .jsonl, .csv, .tsv and .parquet files: labelled texts and text pairs. */
import { extname } from 'node:path';
import { LinnetError } from '../../errors.ts';
import { plainNames } from '../../files/name-list.ts';
import { readRows } from './rows.ts';

/** Values by field name; numbers and booleans as text. */
export interface FieldRecord {
  readonly fields: ReadonlyMap<string, string>;
  /** For messages: `train.tsv:12`. */
  readonly source: string;
}

const longestRecord = 16 << 20;

/** Whether a field is a column number, counted from 1: the file then has no header. */
function isColumnNumber(field: string): boolean {
  return /^[1-9]\d{0,5}$/.test(field);
}

/**
 * Records from several files; each has values in the given fields.
 *
 * A table's first line names its fields, unless fields are asked for by column number.
 * @throws LinnetError `INPUT` for files of another kind or fields named both ways, `FORMAT` (naming file and line) for
 *   malformed contents and records that lack a field
 */
export async function readRecords(paths: readonly string[], fields: readonly string[]): Promise<FieldRecord[]> {
  const numbered = fields.filter(isColumnNumber);
  if (numbered.length > 0 && numbered.length < fields.length) {
    throw new LinnetError('INPUT', `fields are ${fields.join(', ')}; use names, or column numbers from 1 on, not both`);
  }
  const records: FieldRecord[] = [];
  for (const path of paths) {
    const syntax = { longest: longestRecord, hasHeader: numbered.length === 0, skipsEmpty: true };
    for await (const { row, source } of readRows(path, syntax)) {
      const record = { fields: simpleFields(row), source };
      for (const field of fields) {
        if (record.fields.has(field)) continue;
        const has = plainNames([...record.fields.keys()]);
        const advice = ['.csv', '.tsv'].includes(extname(path).toLowerCase())
          ? `. The first line names the columns; if it is data, give column numbers, such as 1`
          : '';
        const lack = Object.hasOwn(row, field) ? 'no text or number in the field' : 'no field';
        throw new LinnetError('FORMAT', `${source} has ${lack} "${field}"; its fields are: ${has}${advice}`);
      }
      records.push(record);
    }
  }
  return records;
}

/** The single-valued fields, as text. */
function simpleFields(row: object): Map<string, string> {
  const simple = Object.entries(row).filter(([, given]) => ['string', 'number', 'boolean'].includes(typeof given));
  return new Map(simple.map(([name, given]) => [name, String(given)]));
}
