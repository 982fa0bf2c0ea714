/**
 * The script of reports: it lets a table be sorted by a column. It is part of the page, and the page's policy names it by its
 * hash, so that no other script can run. Without scripts a table stays as it was written.
 */
import { createHash } from 'node:crypto';

/** Rows from which sorting is worth a button. */
export const sortableFrom = 3;

/**
 * Puts a button into every heading of tables of the class `sortable`. A cell's key is its `data-key`, a number, else its text;
 * cells that hold a dash come last. Clicking again turns the order.
 */
export const TABLE_SCRIPT = `
for (const table of document.querySelectorAll('table.sortable')) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const keyOf = (row, at) => {
    const { dataset, textContent } = row.cells[at];
    if (dataset.key !== undefined) return Number(dataset.key);
    return textContent === '\u2013' ? null : textContent;
  };
  headings.forEach((heading, at) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener('click', () => {
      const isUp = heading.getAttribute('aria-sort') !== 'ascending';
      for (const other of headings) other.removeAttribute('aria-sort');
      heading.setAttribute('aria-sort', isUp ? 'ascending' : 'descending');
      const compare = (a, b) => {
        const [x, y] = [keyOf(a, at), keyOf(b, at)];
        if (x === null || y === null) return (x === null) - (y === null);
        const order = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y));
        return isUp ? order : -order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
`.trim();

/** The script as a source of a Content-Security-Policy. */
export const TABLE_SCRIPT_SOURCE = `'sha256-${createHash('sha256').update(TABLE_SCRIPT).digest('base64')}'`;
