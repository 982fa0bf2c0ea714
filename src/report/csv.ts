/** Tables of comma-separated values (RFC 4180). */

/** Value of a cell; null for an empty one. */
type CsvCell = string | number | null;

/** The rows as text, the headings first. */
export function csvText(rows: readonly (readonly CsvCell[])[]): string {
  return rows.map((cells) => `${cells.map(csvCell).join(',')}\n`).join('');
}

/**
 * A cell, quoted where it has to be. Text that a spreadsheet would take for a formula gets an apostrophe before it: names of
 * folders are not trusted.
 */
function csvCell(value: string | number | null): string {
  if (value === null) return '';
  if (typeof value === 'number') return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
