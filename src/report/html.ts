/**
 * Reports as one HTML file that needs nothing else: style, tables and charts are inside, there is no script, and a
 * content security policy forbids the browser to fetch anything. All text is escaped; charts are `Chart` objects, whose
 * markup is ours (chart-renderer.ts).
 */
import { writeFileAtomic } from '../files/atomic.ts';
import type { Chart } from './chart-renderer.ts';
import { REPORT_STYLE } from './html-style.ts';
import { escapeMarkup } from './markup.ts';
import type { Table } from './table.ts';

/** One piece of a section. */
export type Block =
  /** Paragraphs, separated by blank lines. */
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'table'; readonly table: Table; readonly caption?: string }
  | { readonly kind: 'chart'; readonly chart: Chart; readonly caption?: string }
  /** Text as it is, line by line: generated text, commands, logs. */
  | { readonly kind: 'preformatted'; readonly text: string; readonly caption?: string }
  /** Names and their values, in order. */
  | { readonly kind: 'facts'; readonly facts: readonly (readonly [name: string, value: string])[] };

/** A part of a report under a heading of its own. */
export interface Section {
  readonly title: string;
  readonly blocks: readonly Block[];
}

/** A report: a title, what is said first, and its sections. */
export interface Report {
  readonly title: string;
  /** One line under the title. */
  readonly subtitle?: string;
  readonly introduction?: readonly Block[];
  readonly sections: readonly Section[];
  /** One line at the end, such as version and date. */
  readonly footer?: string;
}

/** Nothing may load and no script may run; the style sheet and style attributes inside the page may apply. */
const SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/**
 * The whole page.
 * @example
 * ```ts
 * const html = renderReport(report);
 * ```
 */
export function renderReport(report: Report): string {
  const { title, subtitle, introduction = [], sections, footer } = report;
  const body = [
    `<h1>${escapeMarkup(title)}</h1>`,
    subtitle === undefined ? '' : `<p class="subtitle">${escapeMarkup(subtitle)}</p>`,
    ...introduction.map(renderBlock),
    sections.length > 2 ? renderContents(sections) : '',
    ...sections.map(renderSection),
    footer === undefined ? '' : `<footer>${escapeMarkup(footer)}</footer>`,
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${SECURITY_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeMarkup(title)}</title>
<style>
${REPORT_STYLE}
</style>
</head>
<body>
<main>
${body.filter((part) => part !== '').join('\n')}
</main>
</body>
</html>
`;
}

/**
 * Writes the page to a file, replacing an older one only when complete.
 * @throws LinnetError `NOT_FOUND` or `PATH` from the file system
 * @example
 * ```ts
 * await writeReport('report.html', report);
 * ```
 */
export async function writeReport(path: string, report: Report): Promise<void> {
  await writeFileAtomic(path, renderReport(report));
}

const anchor = (at: number): string => `section-${at + 1}`;

function renderContents(sections: readonly Section[]): string {
  const items = sections.map(({ title }, at) => `<li><a href="#${anchor(at)}">${escapeMarkup(title)}</a></li>`);
  return `<nav aria-label="Contents"><ul>${items.join('')}</ul></nav>`;
}

function renderSection({ title, blocks }: Section, at: number): string {
  return `<section id="${anchor(at)}">\n<h2>${escapeMarkup(title)}</h2>\n${blocks.map(renderBlock).join('\n')}\n</section>`;
}

function renderBlock(block: Block): string {
  switch (block.kind) {
    case 'text':
      return renderParagraphs(block.text);
    case 'table':
      return figure(`<div class="scroll">${renderTable(block.table)}</div>`, block.caption);
    case 'chart':
      return figure(block.chart.svg, block.caption);
    case 'preformatted':
      // A browser drops a line break right after <pre>: give it one to drop.
      return figure(`<pre>\n${escapeMarkup(block.text)}</pre>`, block.caption);
    case 'facts':
      return `<dl>${block.facts
        .map(([name, value]) => `<dt>${escapeMarkup(name)}</dt><dd>${escapeMarkup(value)}</dd>`)
        .join('')}</dl>`;
  }
}

function renderParagraphs(text: string): string {
  return text
    .split(/\n\s*\n/)
    .map((paragraph) => paragraph.trim())
    .filter((paragraph) => paragraph !== '')
    .map((paragraph) => `<p>${escapeMarkup(paragraph)}</p>`)
    .join('\n');
}

function figure(content: string, caption: string | undefined): string {
  const line = caption === undefined ? '' : `\n<figcaption>${escapeMarkup(caption)}</figcaption>`;
  return `<figure>\n${content}${line}\n</figure>`;
}

function renderTable({ headers, alignments, rows }: Table): string {
  const cell = (tag: string, text: string, at: number): string => {
    const alignment = alignments[at] === 'right' ? ' class="right"' : '';
    return `<${tag}${alignment}>${escapeMarkup(text)}</${tag.split(' ')[0]}>`;
  };
  const head = headers.map((text, at) => cell('th scope="col"', text, at)).join('');
  const body = rows.map((cells) => `<tr>${cells.map((text, at) => cell('td', text, at)).join('')}</tr>`);
  return `<table>\n<thead><tr>${head}</tr></thead>\n<tbody>\n${body.join('\n')}\n</tbody>\n</table>`;
}
