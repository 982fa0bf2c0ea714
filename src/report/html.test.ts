import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { scratchFolder } from '../../test/scratch-folder.ts';
import { lineChart } from './charts/chart.ts';
import { CHART_INK } from './charts/chart-style.ts';
import { renderReport, writeReport, type Report } from './html.ts';
import { makeTable } from './table.ts';

const chart = await lineChart({
  title: 'Loss',
  x: { label: 'step' },
  y: { label: 'loss' },
  lines: [
    {
      name: 'a',
      points: [
        { x: 0, y: 2 },
        { x: 1, y: 1 },
      ],
    },
  ],
});

/** A report with one text in every place that takes text. */
function reportOf(text: string): Report {
  return {
    title: text,
    subtitle: text,
    introduction: [{ kind: 'text', text }],
    sections: [1, 2, 3].map(() => ({
      title: text,
      blocks: [
        { kind: 'text', text },
        { kind: 'table', table: makeTable([{ header: text, value: (row: string) => row }], [text]), caption: text },
        { kind: 'chart', chart, caption: text },
        { kind: 'preformatted', text, caption: text },
        { kind: 'facts', facts: [[text, text]] },
      ],
    })),
    footer: text,
  };
}

/** The tags of a page in order, without attributes. */
const tags = (page: string): string[] => [...page.matchAll(/<\/?[a-z!][a-z0-9]*/gi)].map(([tag]) => tag);

describe('renderReport', () => {
  it('puts everything in its place', () => {
    const page = renderReport({
      title: 'Linnet demo',
      introduction: [{ kind: 'text', text: 'First.\n\nSecond.' }],
      sections: [
        {
          title: 'Perplexity',
          blocks: [
            {
              kind: 'table',
              table: makeTable(
                [
                  { header: 'mixer', value: (row: [string, number]) => row[0] },
                  { header: 'ppl', value: (row) => row[1] },
                ],
                [['local', 9.5]],
              ),
              caption: 'Lower is better.',
            },
            { kind: 'chart', chart },
            { kind: 'preformatted', text: 'a\n  b' },
            { kind: 'facts', facts: [['seed', '1']] },
          ],
        },
      ],
    });
    for (const part of [
      '<title>Linnet demo</title>',
      '<h1>Linnet demo</h1>',
      '<p>First.</p>\n<p>Second.</p>',
      '<h2>Perplexity</h2>',
      '<th scope="col">mixer</th><th scope="col" class="right">ppl</th>',
      '<td>local</td><td class="right">9.5</td>',
      '<figcaption>Lower is better.</figcaption>',
      chart.svg,
      '<pre>\na\n  b</pre>',
      '<dl><dt>seed</dt><dd>1</dd></dl>',
    ]) {
      expect(page).toContain(part);
    }
    expect(page).not.toContain('<nav');
  });

  it('lists the sections where there are several', () => {
    const page = renderReport(reportOf('x'));
    const targets = [...page.matchAll(/href="#([^"]+)"/g)].map(([, target]) => target);
    expect(targets).toHaveLength(3);
    for (const target of targets) expect(page).toContain(`<section id="${target}">`);
  });

  it('has the same tags whatever the texts', () => {
    const expected = tags(renderReport(reportOf('x')));
    const hostile = fc.oneof(
      fc.constantFrom(
        '<script>alert(1)</script>',
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        '</pre></figure></main></html>',
        '<!--',
        ']]>',
        '&lt;b&gt;',
        'javascript:alert(1)',
        '</style><style>*{}',
        '\u0000\u001b[31m\ud800',
      ),
      fc.string({ unit: 'binary' }),
    );
    fc.assert(
      fc.property(hostile, hostile, (first, second) => {
        // Words around it keep paragraphs from being empty; blank lines would make more of them, on purpose.
        const page = renderReport(reportOf(`x${first}${second}y`.replace(/\n/g, ' ')));
        expect(tags(page)).toEqual(expected);
        expect(page).not.toMatch(/[\u0000-\u0008\p{Surrogate}]/u);
      }),
      { seed: 3, numRuns: 200 },
    );
  });

  it('keeps text readable after escaping', () => {
    expect(renderReport(reportOf(`a < b & c > "d" 'e'`))).toContain(
      '<p>a &lt; b &amp; c &gt; &quot;d&quot; &#39;e&#39;</p>',
    );
  });

  it('asks for nothing outside, and forbids it', () => {
    const page = renderReport(reportOf('x'));
    expect(page).toContain("default-src 'none'");
    expect(page).not.toMatch(/<script|<link|<img|<iframe|@import|url\((?!#)|\ssrc=/);
    const addresses = page.match(/https?:\/\/[^"\s]+/g) ?? [];
    expect(addresses.every((address) => address.startsWith('http://www.w3.org/'))).toBe(true);
  });

  it('lets its own script run where a table is worth sorting, and no other', () => {
    const rows = makeTable([{ header: 'n', value: (n: number) => n }], [3, 1, 2]);
    const page = renderReport({ title: 'x', sections: [{ title: 'x', blocks: [{ kind: 'table', table: rows }] }] });
    const [script, ...others] = [...page.matchAll(/<script>([^]*?)<\/script>/g)].map(([, text]) => text);
    expect(others).toEqual([]);
    const hash = createHash('sha256').update(script).digest('base64');
    expect(page).toContain(`script-src 'sha256-${hash}';`);
    expect(page).toContain('<td class="right" data-key="3">3</td>');
    expect(page).not.toMatch(/unsafe-eval|script-src[^;]*unsafe/);
  });

  it('says once, at the end, by which command it was made', () => {
    const { sections } = reportOf('x');
    const page = renderReport({ title: 'x', sections, command: "linnet demo --prompt 'a <b>'" });
    expect(page.match(/<code>linnet demo --prompt &#39;a &lt;b&gt;&#39;<\/code>/g)).toHaveLength(1);
    expect(page.indexOf('<code>')).toBeGreaterThan(page.lastIndexOf('</section>'));
  });

  it('has charts for wide and for narrow pages, and each is said once', () => {
    const page = renderReport(reportOf('x'));
    expect(page.match(/<div class="wide"><svg /g)).toHaveLength(3);
    expect(page.match(/<div class="narrow"><svg /g)).toHaveLength(3);
    expect(page).toMatch(/\.wide \{ display: none; \}/);
  });

  it('recolours the colours of charts, which do occur in them', () => {
    const page = renderReport(reportOf('x'));
    expect(page).toContain('figure svg [stroke="#0072b2"] { stroke: var(--series-0); }');
    for (const [name, colour] of Object.entries(CHART_INK)) {
      expect(page).toContain(`figure svg [stroke="${colour}"] { stroke: var(--${name}); }`);
      if (name !== 'text') expect(chart.svg).toContain(`="${colour}"`);
    }
  });
});

describe('writeReport', () => {
  it('writes one file, replacing an older one', async () => {
    const folder = await scratchFolder();
    const path = join(folder, 'report.html');
    await writeReport(path, reportOf('old'));
    await writeReport(path, reportOf('new'));
    expect(await readFile(path, 'utf8')).toBe(renderReport(reportOf('new')));
    expect(await readdir(folder)).toEqual(['report.html']);
  });
});
