/** Text tables: comma-separated values with quotes (RFC 4180), or tab-separated values without. */
import { CsvError, parse } from 'csv-parse/sync';
import { LinnetError } from '../../errors.ts';

export interface DelimitedSyntax {
  /** One character. */
  readonly delimiter: string;
  /** Whether a value may be quoted, and then hold delimiters, line breaks and doubled quotation marks. */
  readonly quotes: boolean;
  /** Refuses longer rows. Default 16 Mi characters. */
  readonly maximumRowLength?: number;
}

export interface DelimitedRow {
  readonly values: readonly string[];
  /** Its first line, counted from 1. */
  readonly line: number;
}

/** Table errors by the parser's code. */
const complaints: Readonly<Record<string, string>> = {
  CSV_QUOTE_NOT_CLOSED: 'a quotation mark is never closed',
  CSV_INVALID_CLOSING_QUOTE: 'text follows a closing quotation mark',
  INVALID_OPENING_QUOTE:
    'a quotation mark within a value; put the whole value in quotation marks and double those in it',
};

/**
 * A table's rows; skips empty lines. Rows may have different numbers of values.
 *
 * @param text with line ends normalized to `\n`
 * @param source for messages
 * @throws LinnetError `FORMAT` for an unclosed quotation mark, text outside a value's quotes, or a row that is too long
 */
export function parseDelimited(text: string, syntax: DelimitedSyntax, source: string): DelimitedRow[] {
  const { delimiter, quotes, maximumRowLength = 16 << 20 } = syntax;
  const rows: DelimitedRow[] = [];
  let ended = 0; // last line of the previous row
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
        return null; // kept here, not in the parser
      },
    });
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause;
    // With an unclosed quotation mark the parser reads to the end: the row that opened it follows the last whole one.
    const line = cause.code === 'CSV_QUOTE_NOT_CLOSED' ? ended + 1 : cause.lines;
    const complaint =
      cause.code === 'CSV_MAX_RECORD_SIZE'
        ? `the row is longer than ${maximumRowLength} characters`
        : (complaints[cause.code] ?? cause.message);
    throw new LinnetError('FORMAT', `${source}:${String(line)}: ${complaint}`, { cause });
  }
  return rows;
}
