/** The table, the charts and the page of a study. */
import type { SweepPlan } from '../../studies/sweep/plan.ts';
import type { SweepRow } from '../../studies/sweep/results.ts';
import { barChart } from '../../report/chart.ts';
import type { Chart } from '../../report/chart-renderer.ts';
import type { Report, Section } from '../../report/html.ts';
import { describeHardware, describeSoftware } from '../../report/provenance.ts';
import { formatBytes, formatCount, formatFixed, formatShortCount } from '../../report/quantities.ts';
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

/** Perplexities of one model: a method a line, the best plain one not marked, since noise decides close calls. */
export function sweepTable(rows: readonly SweepRow[], model: string): Table {
  return makeTable(
    [
      { header: 'method', value: ({ method }) => method },
      { header: 'plain', value: ({ plain }) => spelled(plain), align: 'right' },
      { header: 'with convolution', value: ({ augmented }) => spelled(augmented), align: 'right' },
      {
        header: 'change',
        value: ({ plain, augmented }) =>
          plain === undefined || augmented === undefined ? undefined : augmented.perplexity - plain.perplexity,
        format: (value) => `${value > 0 ? '+' : ''}${formatFixed(value, 2)}`,
      },
      {
        header: 'parameters',
        value: ({ plain, augmented }) => (augmented ?? plain)?.parameters,
        format: (value) => formatShortCount(value),
      },
      { header: 'mixer', value: ({ plain, augmented }) => (plain ?? augmented)?.description },
    ],
    methodRows(rows, model),
  );
}

/** Perplexities of one model as bars, with the deviation over seeds. */
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
    height: 130 + 46 * methods.length,
    horizontal: true,
    categories: methods.map(({ method }) => method),
    value: { label: 'perplexity of held-out text' },
    barLabel: (value) => formatFixed(value, 2),
    bars,
  });
}

/** The page. */
export async function sweepReport(plan: SweepPlan, rows: readonly SweepRow[], heldOutTokens: number): Promise<Report> {
  const sections: Section[] = [];
  for (const model of modelsOf(rows)) {
    sections.push({
      title: model,
      blocks: [
        { kind: 'chart', chart: await sweepChart(rows, model) },
        { kind: 'table', table: sweepTable(rows, model), caption: 'Mean ± standard deviation over the seeds.' },
      ],
    });
  }
  const hardware = describeHardware();
  const software = describeSoftware();
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
          ['machine', `${hardware.cpu}, ${hardware.cores} cores, ${formatBytes(hardware.memoryBytes)}`],
          ['software', `linnet ${software.linnet}, Node ${software.node}, ONNX Runtime ${software.onnxruntime}`],
        ],
      },
    ],
  });
  return {
    title: plan.title,
    subtitle: 'The same budget for every method',
    sections,
    footer: 'Made by linnet sweep.',
  };
}
