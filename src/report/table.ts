/** Tables: rows of any type through typed columns, printed as plain text, Markdown or (in html.ts) HTML. */
import stringWidth from 'string-width';
import { internalError, LinnetError } from '../errors.ts';
import { formatNumber, formatSpread } from './quantities.ts';

/** Value of a cell before it is printed; undefined and null print as a dash. */
export type CellValue = string | number | boolean | null | undefined;

/** One column: its heading and how a row's cell is found and printed. */
export interface Column<Row> {
  readonly header: string;
  /** Unit of the whole column, put into the heading: `time (ms)`. */
  readonly unit?: string;
  /** The value of a row in this column, or the name of its field. */
  readonly value: ((row: Row) => CellValue) | NoInfer<keyof Row>;
  /** Spelling of numbers. Default: four significant digits. */
  readonly format?: (value: number) => string;
  /** Default: numbers to the right, anything else to the left, judged by the first cell that holds something. */
  readonly align?: Alignment;
  /** Number to sort the column by if the cell is not a plain number, such as "5.3 ± 0.2". Default: the number in the cell. */
  readonly sortBy?: (row: Row) => number | undefined;
}

export type Alignment = 'left' | 'right';

/** A printable table: every cell is text, and every row has one cell per header. */
export interface Table {
  readonly headers: readonly string[];
  readonly alignments: readonly Alignment[];
  readonly rows: readonly (readonly string[])[];
  /** The number in each cell, for sorting; undefined if a cell has none. */
  readonly numbers?: readonly (readonly (number | undefined)[])[];
}

const ABSENT = '–';

/**
 * Reads the cells of all rows.
 * @throws LinnetError INPUT without a column
 * @example
 * ```ts
 * const table = makeTable([{ header: 'n', value: (n: number) => n }], [1, 2, 3]);
 * ```
 */
export function makeTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): Table {
  if (columns.length === 0) throw new LinnetError('INPUT', 'the table has no columns; name at least one');
  const values = rows.map((row) =>
    columns.map(({ value }) => (typeof value === 'function' ? value(row) : checkedCell(row[value]))),
  );
  return {
    headers: columns.map(({ header, unit }) => (unit === undefined ? header : `${header} (${unit})`)),
    alignments: columns.map(({ align }, at) => align ?? alignmentOf(values.map((cells) => cells[at]))),
    rows: values.map((cells) => cells.map((value, at) => printCell(value, columns[at].format ?? formatNumber))),
    numbers: values.map((cells, row) => cells.map((value, at) => columns[at].sortBy?.(rows[row]) ?? numberIn(value))),
  };
}

/** A column of numbers with spreads, sorted by the numbers. @param of returns a row's number and spread */
export function spreadColumn<Row>(
  header: string,
  of: (row: Row) => readonly [value: number, spread?: number] | undefined,
  decimals = 2,
  isSigned = false,
): Column<Row> {
  return {
    header,
    value(row) {
      const found = of(row);
      return found && formatSpread(found[0], found[1], decimals, isSigned);
    },
    sortBy: (row) => of(row)?.[0],
    align: 'right',
  };
}

function checkedCell(value: unknown): CellValue {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  if (value === undefined || value === null) return value;
  throw internalError('a table field is not a text, number or boolean; give a function of the row');
}

function numberIn(value: CellValue): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

function alignmentOf(cells: readonly CellValue[]): Alignment {
  const first = cells.find((cell) => cell !== undefined && cell !== null);
  return typeof first === 'number' ? 'right' : 'left';
}

function printCell(value: CellValue, format: (value: number) => string): string {
  if (value === undefined || value === null) return ABSENT;
  if (typeof value === 'number') return format(value);
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  return value;
}

function pad(text: string, width: number, alignment: Alignment): string {
  const space = ' '.repeat(Math.max(0, width - stringWidth(text)));
  return alignment === 'right' ? space + text : text + space;
}

/** Line breaks, tabs and control characters (colours, cursor moves) would tear a line apart: show them instead. */
function onOneLine(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) =>
    character === '\n' ? '⏎' : character === '\t' ? ' ' : `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/**
 * Plain text for a terminal, columns two spaces apart, a rule under the headings. No newline at the end.
 * @example
 * ```ts
 * console.log(textTable(table));
 * ```
 */
export function textTable(table: Table): string {
  const lines = [table.headers, ...table.rows].map((cells) => cells.map(onOneLine));
  const widths = table.headers.map((_, at) =>
    lines.reduce((widest, cells) => Math.max(widest, stringWidth(cells[at])), 0),
  );
  const [head, ...body] = lines.map((cells) =>
    cells
      .map((cell, at) => pad(cell, widths[at], table.alignments[at]))
      .join('  ')
      .trimEnd(),
  );
  return [head, widths.map((width) => '─'.repeat(width)).join('  '), ...body].join('\n');
}

/**
 * A Markdown table as GitHub reads it. Cells are escaped: no text can break out of its cell.
 * @example
 * ```ts
 * console.log(markdownTable(table));
 * ```
 */
export function markdownTable(table: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [
    line(table.headers.map(escapeMarkdown)),
    line(table.alignments.map((alignment) => (alignment === 'right' ? '---:' : '---'))),
    ...table.rows.map((cells) => line(cells.map(escapeMarkdown))),
  ].join('\n');
}

function escapeMarkdown(text: string): string {
  return text
    .replace(/\p{Cc}+/gu, ' ')
    .replace(/[\\`*_[\]|~]/g, '\\$&')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;');
}
