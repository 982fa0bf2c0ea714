/** Results of models of text: means over the seeds, a table and charts of each model. */
import type { Chart } from '../../report/charts/chart-renderer.ts';
import type { ChartLine } from '../../report/charts/chart-description.ts';
import { barChart, lineChart } from '../../report/charts/chart.ts';
import { hiddenDifferences } from '../../report/charts/line-series.ts';
import { csvText } from '../../report/csv.ts';
import type { Block, Section } from '../../report/html.ts';
import { formatFixed, formatShortCount } from '../../report/quantities.ts';
import { type Column, makeTable, spreadColumn, type Table } from '../../report/table.ts';
import { groupedBy } from '../../report/statistics.ts';
import { type OverSeeds, overSeeds, resultSection, type StudyReport } from '../frame/study-report.ts';
import type { SweepMeasured, SweepResult } from './plan.ts';

/** A method of a sweep over its seeds; numbers are means. */
type SweepRow = ReturnType<typeof summarizeSweep>[number];

/** Results by model, method and augmentation, in the order in which they first appear. */
export function summarizeSweep(results: readonly SweepResult[]) {
  const rows = groupedBy(results, ({ model, method, augmented }) => JSON.stringify([model, method, augmented]));
  return rows.map((trials) => {
    const [{ model, method, augmented, description, parameters }] = trials;
    const { mean: perplexity, deviation } = overSeeds(trials.map(perplexityOf));
    return {
      model,
      method,
      augmented,
      description,
      parameters,
      perplexity,
      /** Sample standard deviation of the perplexity; NaN for one seed. */
      deviation,
      trials,
      loss: overSeeds(trials.map(({ loss }) => loss)).mean,
      tokensPerSecond: overSeeds(trials.map((trial) => trial.tokensPerSecond)).mean,
    };
  });
}

/** The parts of a report that the results make. */
export type SweepFindings = Pick<StudyReport, 'json' | 'summary' | 'sections' | 'charts' | 'files'>;

/** @param heldOutTokens the first model's number of scored held-out tokens */
export async function textFindings(results: readonly SweepResult[], heldOutTokens: number): Promise<SweepFindings> {
  const rows = summarizeSweep(results);
  const charts: Record<string, Chart> = {};
  const sections: Section[] = [];
  for (const group of groupedBy(rows, ({ model }) => model)) {
    const [{ model }] = group;
    const methods = methodRows(group);
    const chart = await perplexityChart(model, methods);
    charts[model.replace(/[^\p{L}\d+-]+/gu, '-')] = chart;
    const caption =
      "Mean ± standard deviation over the seeds; the change's is taken over the differences seed by seed, and is smaller " +
      'if seeds move both alike.';
    const { title, blocks } = resultSection(model, [chart], methodTable(methods), caption);
    sections.push({ title, blocks: [...blocks, ...(await curveBlocks(group))] });
  }
  const found = rows.flatMap(({ trials }) => trials.map(perplexityOf)).filter(Number.isFinite);
  return {
    json: { heldOutTokens, rows: rows.map(({ trials, ...row }) => ({ ...row, seeds: trials.map(numbersOf) })) },
    summary: { perplexity: found.length === 0 ? null : Math.min(...found) },
    sections,
    charts,
    files: { csv: { name: 'results.csv', content: sweepCsv(rows) } },
  };
}

function perplexityOf({ perplexity = Number.NaN }: SweepResult): number {
  return perplexity;
}

function numbersOf({ seed, perplexity, loss, seconds }: SweepResult) {
  return { seed, perplexity, loss, seconds };
}

/** The results as comma-separated values: a line a trial, models and methods together. */
function sweepCsv(rows: readonly SweepRow[]): string {
  const header = 'model,method,convolution,seed,perplexity,loss,parameters,tokens_per_second,seconds'.split(',');
  const lines = rows.flatMap(({ trials }) =>
    trials.map((trial) => {
      const { model, method, augmented, seed, loss, parameters, tokensPerSecond, seconds } = trial;
      return [
        model,
        method,
        augmented ? 'yes' : 'no',
        seed,
        perplexityOf(trial),
        loss,
        parameters,
        tokensPerSecond,
        seconds,
      ];
    }),
  );
  return csvText([header, ...lines]);
}

interface MethodRow {
  readonly method: string;
  readonly plain?: SweepRow;
  readonly augmented?: SweepRow;
  /** The change by the convolution, seed by seed: both models of a pair had the same weights and rows of text. */
  readonly change?: OverSeeds;
}

function methodRows(rows: readonly SweepRow[]): MethodRow[] {
  return groupedBy(rows, ({ method }) => method).map((group) => {
    const plain = group.find(({ augmented }) => !augmented);
    const augmented = group.find((row) => row.augmented);
    const bySeed = new Map(plain?.trials.map((trial) => [trial.seed, perplexityOf(trial)]));
    const differences = (augmented?.trials ?? []).flatMap((trial) => {
      const before = bySeed.get(trial.seed);
      return before === undefined ? [] : [perplexityOf(trial) - before];
    });
    const change = differences.length === 0 ? undefined : overSeeds(differences);
    return { method: group[0].method, plain, augmented, change };
  });
}

/** Perplexities of one model: a method a line, the best plain one not marked, since noise decides close calls. */
function methodTable(methods: readonly MethodRow[]): Table {
  const perplexity = (row?: SweepRow) => row && ([row.perplexity, row.deviation] as const);
  const columns: Column<MethodRow>[] = [
    { header: 'method', value: 'method' },
    spreadColumn('with convolution', ({ augmented }) => perplexity(augmented)),
    spreadColumn('plain', ({ plain }) => perplexity(plain)),
    spreadColumn('change', ({ change }) => change && [change.mean, change.deviation], 2, true),
    { header: 'parameters', value: (row) => (row.augmented ?? row.plain)?.parameters, format: formatShortCount },
    { header: 'mixer', value: ({ plain, augmented }) => (plain ?? augmented)?.description },
  ];
  return makeTable(columns, methods);
}

/** Perplexities of one model as dots, with the deviation over seeds. */
function perplexityChart(model: string, methods: readonly MethodRow[]): Promise<Chart> {
  const bars = (['plain', 'augmented'] as const)
    .map((variant) => ({
      name: variant === 'plain' ? 'plain' : 'with masked convolution',
      values: methods.map((method) => method[variant]?.perplexity),
      deviations: methods.map((method) => method[variant]?.deviation),
    }))
    .filter(({ values }) => values.some((value) => value !== undefined));
  return barChart({
    title: `Held-out perplexity: ${model}`,
    description: `Perplexity of each method in ${model}, lower is better; lines show the standard deviation over seeds.`,
    height: 130 + 44 * methods.length,
    horizontal: true,
    marks: 'dots',
    categories: methods.map(({ method }) => method),
    value: { label: 'perplexity of held-out text' },
    barLabel: (value) => formatFixed(value, 2),
    bars,
  });
}

/** Curves of one chart; more cannot be told apart. */
const mostCurves = 7;

/** Training losses of one model, means over the seeds, in charts of a few methods each; none for results without curves. */
async function curveBlocks(rows: readonly SweepRow[]): Promise<Block[]> {
  const [{ model }] = rows;
  const lines = rows
    .map(({ method, augmented, trials }) => ({
      name: augmented ? `${method} + convolution` : method,
      points: meanCurve(trials.map(({ curve }) => curve ?? [])),
    }))
    .filter(({ points }) => points.length > 1);
  const block = async (title: string, label: string, shown: readonly ChartLine[], caption: string): Promise<Block> => {
    const description = `${caption} One line per method, by optimizer step.`;
    const y = { label, unit: 'nats per token' };
    const chart = await lineChart({ title, description, x: { label: 'optimizer steps' }, y, lines: shown });
    return { kind: 'chart', chart, caption };
  };
  const blocks: Block[] = [];
  for (let start = 0; start < lines.length; start += mostCurves) {
    const shown = lines.slice(start, start + mostCurves);
    const which = lines.length > mostCurves ? `, methods ${start + 1} to ${start + shown.length}` : '';
    const caption = 'Means over the seeds and over neighboring steps.';
    blocks.push(await block(`Training loss: ${model}${which}`, 'loss', shown, caption));
  }
  const differences = hiddenDifferences(lines.slice(0, mostCurves));
  if (differences === undefined) return blocks;
  const title = `Training loss minus that of ${differences.from}: ${model}`;
  const caption = 'Differences between the lines that overlap above; below zero is better than the subtracted method.';
  return [...blocks, await block(title, 'difference of the loss', differences.lines, caption)];
}

/** The mean of curves at the steps that all of them have. */
function meanCurve(curves: readonly NonNullable<SweepMeasured['curve']>[]) {
  const [first = [], ...others] = curves;
  return first.flatMap(({ update, loss }) => {
    const also = others.flatMap((curve) => curve.find((point) => point.update === update)?.loss ?? []);
    return also.length < others.length ? [] : [{ x: update, y: overSeeds([loss, ...also]).mean }];
  });
}
