/** The table, the charts and the page of a study. */
import type { SweepPlan } from '../../studies/sweep/plan.ts';
import type { SweepRow } from '../../studies/sweep/results.ts';
import { barChart, lineChart } from '../../report/charts/chart.ts';
import { hiddenDifferences } from '../../report/charts/line-series.ts';
import type { Chart } from '../../report/charts/chart-renderer.ts';
import { csvText } from '../../report/csv.ts';
import type { Block, Report, Section } from '../../report/html.ts';
import { provenanceFacts } from '../../report/provenance.ts';
import { formatCount, formatFixed, formatShortCount } from '../../report/quantities.ts';
import { makeTable, type Table } from '../../report/table.ts';

/** A method of a model, plain and augmented. */
interface MethodRow {
  readonly method: string;
  readonly plain?: SweepRow;
  readonly augmented?: SweepRow;
}

function methodRows(rows: readonly SweepRow[], model: string): MethodRow[] {
  const methods = new Map<string, MethodRow>();
  for (const row of rows) {
    if (row.model !== model) continue;
    const known = methods.get(row.method) ?? { method: row.method };
    methods.set(row.method, { ...known, [row.augmented ? 'augmented' : 'plain']: row });
  }
  return [...methods.values()];
}

/** The models of a study, in the order of its plan. */
export function modelsOf(rows: readonly SweepRow[]): string[] {
  return [...new Set(rows.map(({ model }) => model))];
}

/** Mean ± deviation over the seeds. */
function spelled(row: SweepRow | undefined): string | undefined {
  if (row === undefined) return undefined;
  const deviation = Number.isFinite(row.deviation) ? ` ± ${formatFixed(row.deviation, 2)}` : '';
  return `${formatFixed(row.perplexity, 2)}${deviation}`;
}

/** What the convolution changes, seed by seed: both models of a pair had the same weights and rows of text. */
interface Change {
  readonly mean: number;
  /** Sample standard deviation of the differences; NaN for a single pair. */
  readonly deviation: number;
}

function changeOf({ plain, augmented }: MethodRow): Change | undefined {
  if (plain === undefined || augmented === undefined) return undefined;
  const bySeed = new Map(plain.trials.map(({ seed, perplexity }) => [seed, perplexity]));
  const differences = augmented.trials.flatMap(({ seed, perplexity }) => {
    const before = bySeed.get(seed);
    return before === undefined ? [] : [perplexity - before];
  });
  if (differences.length === 0) return undefined;
  const mean = differences.reduce((sum, value) => sum + value, 0) / differences.length;
  const squares = differences.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / (differences.length - 1)) };
}

function spelledChange(change: Change | undefined): string | undefined {
  if (change === undefined) return undefined;
  const deviation = Number.isFinite(change.deviation) ? ` ± ${formatFixed(change.deviation, 2)}` : '';
  return `${change.mean > 0 ? '+' : ''}${formatFixed(change.mean, 2)}${deviation}`;
}

/** Perplexities of one model: a method a line, the best plain one not marked, since noise decides close calls. */
export function sweepTable(rows: readonly SweepRow[], model: string): Table {
  return makeTable(
    [
      { header: 'method', value: ({ method }) => method },
      {
        header: 'with convolution',
        value: ({ augmented }) => spelled(augmented),
        sortBy: ({ augmented }) => augmented?.perplexity,
        align: 'right',
      },
      {
        header: 'plain',
        value: ({ plain }) => spelled(plain),
        sortBy: ({ plain }) => plain?.perplexity,
        align: 'right',
      },
      {
        header: 'change',
        value: (row) => spelledChange(changeOf(row)),
        sortBy: (row) => changeOf(row)?.mean,
        align: 'right',
      },
      {
        header: 'parameters',
        value: ({ plain, augmented }) => (augmented ?? plain)?.parameters,
        format: formatShortCount,
      },
      { header: 'mixer', value: ({ plain, augmented }) => (plain ?? augmented)?.description },
    ],
    methodRows(rows, model),
  );
}

/** Perplexities of one model as dots, with the deviation over seeds. */
export function sweepChart(rows: readonly SweepRow[], model: string): Promise<Chart> {
  const methods = methodRows(rows, model);
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
async function curveBlocks(rows: readonly SweepRow[], model: string): Promise<Block[]> {
  const lines = rows
    .filter((row) => row.model === model)
    .map(({ method, augmented, trials }) => ({
      name: augmented ? `${method} + convolution` : method,
      points: meanCurve(trials.map(({ curve }) => curve ?? [])),
    }))
    .filter(({ points }) => points.length > 1);
  const blocks: Block[] = [];
  for (let start = 0; start < lines.length; start += mostCurves) {
    const chart = await lineChart({
      title: `Training loss: ${model}${lines.length > mostCurves ? `, methods ${start + 1} to ${Math.min(start + mostCurves, lines.length)}` : ''}`,
      description: 'Mean training loss over the seeds against the optimizer steps, a line a method.',
      x: { label: 'optimizer steps' },
      y: { label: 'loss', unit: 'nats per token' },
      lines: lines.slice(start, start + mostCurves),
    });
    blocks.push({ kind: 'chart', chart, caption: 'Means over the seeds, and over neighbouring steps.' });
  }
  const differences = hiddenDifferences(lines.slice(0, mostCurves));
  if (differences !== undefined) {
    const chart = await lineChart({
      title: `Training loss minus that of ${differences.from}: ${model}`,
      description:
        'Difference of the mean training loss from that of a method that others run on, a line a method; below zero is better.',
      x: { label: 'optimizer steps' },
      y: { label: 'difference of the loss', unit: 'nats per token' },
      lines: differences.lines,
    });
    blocks.push({
      kind: 'chart',
      chart,
      caption: 'The same as differences: where lines of the picture above run on one another.',
    });
  }
  return blocks;
}

/** The mean of curves at the steps that all of them have. */
function meanCurve(curves: readonly (readonly { readonly update: number; readonly loss: number }[])[]) {
  const [first = [], ...others] = curves;
  return first.flatMap(({ update, loss }) => {
    const also = others.map((curve) => curve.find((point) => point.update === update)?.loss);
    const known = also.filter((value) => value !== undefined);
    if (known.length < others.length) return [];
    return [{ x: update, y: (loss + known.reduce((sum, value) => sum + value, 0)) / curves.length }];
  });
}

/** The results as comma-separated values: a line a trial. */
export function sweepCsv(rows: readonly SweepRow[]): string {
  const lines = rows.flatMap(({ trials }) =>
    trials.map((trial) => {
      const { model, method, augmented, seed, perplexity, loss, parameters, tokensPerSecond, seconds } = trial;
      return [model, method, augmented ? 'yes' : 'no', seed, perplexity, loss, parameters, tokensPerSecond, seconds];
    }),
  );
  const header = 'model,method,convolution,seed,perplexity,loss,parameters,tokens_per_second,seconds';
  return csvText([header.split(','), ...lines]);
}

/** The page. */
export async function sweepReport(
  plan: SweepPlan,
  rows: readonly SweepRow[],
  { heldOutTokens, command }: { readonly heldOutTokens: number; readonly command: string },
): Promise<Report> {
  const sections: Section[] = [];
  for (const model of modelsOf(rows)) {
    sections.push({
      title: model,
      blocks: [
        { kind: 'chart', chart: await sweepChart(rows, model) },
        {
          kind: 'table',
          table: sweepTable(rows, model),
          caption:
            'Mean ± standard deviation over the seeds; that of the change is of the differences seed by seed, and is ' +
            'smaller where seeds move both alike.',
        },
        ...(await curveBlocks(rows, model)),
      ],
    });
  }
  sections.push({
    title: 'How it was measured',
    blocks: [
      {
        kind: 'facts',
        facts: [
          ['text', `${plan.data.join(', ')}; ${formatCount(heldOutTokens)} held-out tokens are scored`],
          [
            'training',
            Object.entries(plan.training)
              .map(([key, value]) => `${key} ${String(value)}`)
              .join(', '),
          ],
          ['seeds', `${plan.seeds.join(', ')}: they draw the weights and the order of the text`],
          ...provenanceFacts(),
        ],
      },
    ],
  });
  return {
    title: plan.title,
    subtitle: 'The same budget for every method',
    sections,
    footer: 'Made by linnet sweep.',
    command,
  };
}
