/** The report of a study: printed, as a page with charts and files, and the parts that reports of several studies share. */
import { join } from 'node:path';
import { average, groupedBy, sampleDeviation } from '../../report/statistics.ts';
import { writeFileAtomic } from '../../files/atomic.ts';
import type { ChartPoint } from '../../report/charts/chart-description.ts';
import type { Chart } from '../../report/charts/chart-renderer.ts';
import { commandLine } from '../../report/command-line.ts';
import { type Section, writeReport } from '../../report/html.ts';
import { provenanceFacts } from '../../report/provenance.ts';
import { type Table, textTable } from '../../report/table.ts';
import type { JsonObject } from '../../files/json-object.ts';

/** All results of a study for people and machines. */
export interface StudyReport {
  readonly json: JsonObject;
  /** The answer of the study is no: something does not work, or differs. */
  readonly negative?: boolean;
  /** Numbers for the record of the run. */
  readonly summary?: Readonly<Record<string, number | null>>;
  /** Title of `report.html`. */
  readonly title: string;
  readonly subtitle?: string;
  /** Parts of the page; their tables are printed too. */
  readonly sections: readonly Section[];
  /** How it was measured, by name; the machine is added. */
  readonly facts?: readonly (readonly [name: string, value: string])[];
  readonly conclusion?: string;
  /** Charts by file name, without the ending .svg. */
  readonly charts?: Readonly<Record<string, Chart>>;
  /** Further files by the key that JSON names their path under, with name and content. */
  readonly files?: Readonly<Record<string, { readonly name: string; readonly content: string }>>;
}

/** A report's tables, titled if there are several, and its conclusion. */
export function printedReport({ sections, conclusion }: StudyReport): string {
  const tables = sections.flatMap(({ title, blocks }) =>
    blocks.flatMap((block) => (block.kind === 'table' ? [{ title, text: textTable(block.table) }] : [])),
  );
  const parts = tables.map(({ title, text }) => (tables.length === 1 ? text : `${title}\n${text}`));
  return [...parts, ...(conclusion === undefined ? [] : [conclusion])].join('\n\n');
}

/** Writes page, charts and files of a report. @returns their paths, as JSON has them */
export async function writeResults(
  out: string,
  name: string,
  { title, subtitle, sections, facts = [], charts = {}, files = {} }: StudyReport,
  command: readonly string[],
): Promise<Record<string, unknown>> {
  const report = join(out, 'report.html');
  const how = [{ kind: 'facts', facts: [...facts, ...provenanceFacts()] }] as const;
  await writeReport(report, {
    title,
    subtitle,
    sections: [...sections, { title: 'How it was measured', blocks: how }],
    footer: `Made by linnet study ${name}.`,
    command: commandLine(command),
  });
  const write = async (file: string, content: string): Promise<string> => {
    await writeFileAtomic(join(out, file), content);
    return join(out, file);
  };
  const drawn: string[] = [];
  for (const [file, chart] of Object.entries(charts)) drawn.push(await write(`${file}.svg`, chart.svgFile()));
  const written: Record<string, unknown> = { report, ...(drawn.length > 0 && { charts: drawn }) };
  for (const [key, file] of Object.entries(files)) written[key] = await write(file.name, file.content);
  return written;
}

export function resultSection(title: string, charts: readonly Chart[], table: Table, caption?: string): Section {
  return {
    title,
    blocks: [...charts.map((chart) => ({ kind: 'chart', chart }) as const), { kind: 'table', table, caption }],
  };
}

export interface OverSeeds {
  readonly mean: number;
  /** Sample standard deviation; NaN for one seed. */
  readonly deviation: number;
}

export function overSeeds(values: readonly number[]): OverSeeds {
  return { mean: average(values), deviation: sampleDeviation(values) };
}

/** Points of a line, by x: means over the items of the same x, and their range. */
export function meanPoints<T>(items: readonly T[], x: (item: T) => number, y: (item: T) => number): ChartPoint[] {
  const points = groupedBy(items, (item) => String(x(item))).map((group) => {
    const values = group.map(y);
    return { x: x(group[0]), y: average(values), low: Math.min(...values), high: Math.max(...values) };
  });
  return points.sort((a, b) => a.x - b.x);
}
