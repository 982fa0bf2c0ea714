/** Markdown within bounds, and hostile texts beyond them. */
import { describe, expect, it } from 'vitest';
import { markdownToHtml } from './markdown-html.ts';

const nestedList = (depth: number): string =>
  Array.from({ length: depth }, (_, level) => `${' '.repeat(2 * level)}- item\n`).join('');
/** Processor time in milliseconds, independent of other load. */
function cost(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

const table = (columns: number, rows: number): string =>
  `${'|a'.repeat(columns)}|\n${'|-'.repeat(columns)}|\n${'|\n'.repeat(rows)}`;

describe('Markdown', () => {
  it('becomes HTML, and HTML in it is escaped', () => {
    expect(markdownToHtml('# A\n\n- **b**\n- *c*\n')).toBe(
      '<h1>A</h1>\n<ul>\n<li><strong>b</strong></li>\n<li><em>c</em></li>\n</ul>\n',
    );
    expect(markdownToHtml('<b>![x](y)')).not.toMatch(/<b>|<img/);
    expect(markdownToHtml(nestedList(20))?.match(/<li>/g)).toHaveLength(20);
    expect(markdownToHtml(table(5, 40))?.match(/<tr>/g)).toHaveLength(41);
  });

  it.each([
    ['emphases without end', '*a_'.repeat(20_000)],
    ['a list nested 3,000 deep', nestedList(3000)],
    ['a list nested 60 deep', nestedList(60)],
    ['quotations in quotations', '>'.repeat(20_000)],
    ['a table of more cells than characters', table(90, 40_000)],
    ['a text that is too long', 'a '.repeat(60_000)],
  ])('is refused in a moment for %s', (_, text) => {
    const took = cost(() => expect(markdownToHtml(text)).toBeUndefined());
    expect(took).toBeLessThan(300);
  });

  it('is never refused for its time if it is short', () => {
    expect(cost(() => expect(markdownToHtml('*a_'.repeat(999))).toBeDefined())).toBeLessThan(600);
  });

  it.each([
    ...[
      '[',
      '[a](',
      '![[',
      '**a ',
      '__a_',
      '~~',
      '`',
      '<a x="',
      'a@',
      '- ',
      '-\n',
      '1.\n',
      'a\n=',
      '\\',
      '|a',
      '[*_~`](',
    ],
  ])('made of %j takes a moment, refused or not', (piece) => {
    expect(cost(() => void markdownToHtml(piece.repeat(60_000 / piece.length)))).toBeLessThan(600);
  });
});
