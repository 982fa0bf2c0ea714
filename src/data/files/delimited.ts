/** Tables as text: comma-separated values with quotes (RFC 4180), or tab-separated values without. */
import { CsvError, parse } from 'csv-parse/sync';
import { LinnetError } from '../../errors.ts';

export interface DelimitedSyntax {
  /** One character. */
  readonly delimiter: string;
  /** Whether a value may be in quotation marks, and then hold delimiters, line breaks and doubled quotation marks. */
  readonly quotes: boolean;
  /** Longer rows are refused. Default 16 Mi characters. */
  readonly maximumRowLength?: number;
}

export interface DelimitedRow {
  readonly values: readonly string[];
  /** Where it begins, counted from 1. */
  readonly line: number;
}

/** Problems of a table, by the code of the parser. */
const complaints: Readonly<Record<string, string>> = {
  CSV_QUOTE_NOT_CLOSED: 'a quotation mark is never closed',
  CSV_INVALID_CLOSING_QUOTE: 'text follows a closing quotation mark',
  INVALID_OPENING_QUOTE:
    'a quotation mark within a value; put the whole value in quotation marks and double those in it',
};

/**
 * The rows of a table; empty lines are skipped. Rows may differ in their number of values.
 *
 * @param text with line ends normalised to `\n`
 * @param source for messages
 * @throws LinnetError `FORMAT` for a quotation mark that is not closed, is followed by more of the value, or is preceded by some,
 *   and for a row that is too long
 */
export function parseDelimited(text: string, syntax: DelimitedSyntax, source: string): DelimitedRow[] {
  const { delimiter, quotes, maximumRowLength = 16 << 20 } = syntax;
  const rows: DelimitedRow[] = [];
  let ended = 0; // the last line of the row before
  try {
    parse(text, {
      delimiter,
      quote: quotes ? '"' : null,
      record_delimiter: '\n',
      relax_column_count: true,
      skip_empty_lines: true,
      max_record_size: maximumRowLength,
      on_record(values: string[], { lines }) {
        ended = lines;
        rows.push({ values, line: lines - values.reduce((breaks, value) => breaks + value.split('\n').length - 1, 0) });
        return null; // it is kept here, not in the parser
      },
    });
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause;
    // Where a quotation mark is never closed the parser has read to the end: the row that opened it comes after the last whole one.
    const line = cause.code === 'CSV_QUOTE_NOT_CLOSED' ? ended + 1 : cause.lines;
    const complaint =
      cause.code === 'CSV_MAX_RECORD_SIZE'
        ? `the row is longer than ${maximumRowLength} characters`
        : (complaints[cause.code] ?? cause.message);
    throw new LinnetError('FORMAT', `${source}:${String(line)}: ${complaint}`, { cause });
  }
  return rows;
}
