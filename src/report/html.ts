/**
 * Reports as one HTML file that needs nothing else: style, tables and charts are inside, the only script sorts tables
 * (table-script.ts), and a content security policy forbids the browser to run another or to fetch anything. All text is
 * escaped; charts are `Chart` objects, whose markup is ours (chart-renderer.ts).
 */
import { writeFileAtomic } from '../files/atomic.ts';
import type { Chart } from './charts/chart-renderer.ts';
import { REPORT_STYLE } from './html-style.ts';
import { escapeMarkup } from './markup.ts';
import { sortableFrom, TABLE_SCRIPT, TABLE_SCRIPT_SOURCE } from './table-script.ts';
import type { Table } from './table.ts';

/** One piece of a section. */
export type Block =
  /** Paragraphs, separated by blank lines. */
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'table'; readonly table: Table; readonly caption?: string }
  | { readonly kind: 'chart'; readonly chart: Chart; readonly caption?: string }
  /** Preformatted text: generated text, commands, logs. */
  | { readonly kind: 'preformatted'; readonly text: string; readonly caption?: string }
  /** Names and their values, in order. */
  | { readonly kind: 'facts'; readonly facts: readonly (readonly [name: string, value: string])[] };

/** A section of a report with its heading. */
export interface Section {
  readonly title: string;
  readonly blocks: readonly Block[];
}

/** A report: a title, an introduction and sections. */
export interface Report {
  readonly title: string;
  /** One line under the title. */
  readonly subtitle?: string;
  readonly introduction?: readonly Block[];
  readonly sections: readonly Section[];
  /** One line at the end, such as version and date. */
  readonly footer?: string;
  /** The command line that made the report, shown once at the end. */
  readonly command?: string;
  /** Lets readers sort tables, which takes a script. Default true. */
  readonly sortable?: boolean;
}

/** Nothing may load, no script but ours may run; the style sheet and style attributes inside the page may apply. */
const SECURITY_POLICY = `default-src 'none'; script-src ${TABLE_SCRIPT_SOURCE}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'`;

/**
 * The whole page.
 * @example
 * ```ts
 * const html = renderReport(report);
 * ```
 */
export function renderReport(report: Report): string {
  const { title, subtitle, introduction = [], sections, footer, command, sortable = true } = report;
  const body = [
    `<h1>${escapeMarkup(title)}</h1>`,
    subtitle === undefined ? '' : `<p class="subtitle">${escapeMarkup(subtitle)}</p>`,
    ...introduction.map(renderBlock),
    sections.length > 2 ? renderContents(sections) : '',
    ...sections.map((section, at) => renderSection(section, at)),
    footer === undefined && command === undefined
      ? ''
      : `<footer>${escapeMarkup(footer ?? '')}${command === undefined ? '' : `<code>${escapeMarkup(command)}</code>`}</footer>`,
  ];
  const isSortable = sortable && body.some((part) => part.includes(SORTABLE_TABLE));
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
${isSortable ? `<script>${TABLE_SCRIPT}</script>\n` : ''}</body>
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

/** The tag of tables that the script finds. */
const SORTABLE_TABLE = '<table class="sortable">';

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
      return figure(scrolling(renderTable(block.table), block.caption ?? 'Table'), block.caption);
    case 'chart':
      return figure(renderChart(block.chart), block.caption);
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

function figure(content: string, caption?: string): string {
  const line = caption === undefined || caption === '' ? '' : `\n<figcaption>${escapeMarkup(caption)}</figcaption>`;
  return `<figure>\n${content}${line}\n</figure>`;
}

/** Content that may be wider than the page and scrolls separately, also by keyboard. */
function scrolling(content: string, name: string): string {
  return `<div class="scroll" role="region" tabindex="0" aria-label="${escapeMarkup(name)}">${content}</div>`;
}

/** A chart drawn for the page's width. */
function renderChart({ svg, narrow }: Chart): string {
  return narrow === undefined ? svg : `<div class="wide">${svg}</div><div class="narrow">${narrow.svg}</div>`;
}

function renderTable({ headers, alignments, rows, numbers }: Table): string {
  const cell = (tag: string, text: string, at: number, key?: number): string => {
    const alignment = alignments[at] === 'right' ? ' class="right"' : '';
    const sorted = key === undefined ? '' : ` data-key="${key}"`;
    return `<${tag}${alignment}${sorted}>${escapeMarkup(text)}</${tag.split(' ')[0]}>`;
  };
  const head = headers.map((text, at) => cell('th scope="col"', text, at)).join('');
  const isSortable = rows.length >= sortableFrom;
  const body = rows.map((cells, row) => {
    const key = (at: number): number | undefined => (isSortable ? numbers?.[row]?.[at] : undefined);
    return `<tr>${cells.map((text, at) => cell('td', text, at, key(at))).join('')}</tr>`;
  });
  return `${isSortable ? SORTABLE_TABLE : '<table>'}\n<thead><tr>${head}</tr></thead>\n<tbody>\n${body.join('\n')}\n</tbody>\n</table>`;
}
