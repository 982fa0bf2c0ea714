/** The report of `linnet demo`: one HTML page with charts and tables. */
import { describeMixer } from '../../../attention/mixers.ts';
import { conversionSections } from '../../../conversion/report.ts';
import type { DecodingSpeed } from '../../../evaluation/speed/decoding-speed.ts';
import { barChart, lineChart } from '../../../report/charts/chart.ts';
import { commandLine } from '../../../report/command-line.ts';
import { hiddenDifferences } from '../../../report/charts/line-series.ts';
import type { Chart } from '../../../report/charts/chart-renderer.ts';
import type { Report, Section } from '../../../report/html.ts';
import { provenanceFacts } from '../../../report/provenance.ts';
import {
  fixed,
  formatBytes,
  formatCount,
  formatDuration,
  formatFixed,
  formatTokens,
} from '../../../report/quantities.ts';
import { makeTable, type Table } from '../../../report/table.ts';
import { acceptanceByDepthChart, acceptanceTreeChart, speculationSection } from './speculation-report.ts';
import type { DemoConversion } from './conversion.ts';
import type { DemoOptions, DemoResults } from './study.ts';

/** The charts, also drawn into docs. */
export type DemoCharts = Readonly<Record<'perplexity' | 'losses' | 'depths' | 'tree' | 'time' | 'memory', Chart>> & {
  /** Of lines that run on one another in `losses`. */
  readonly differences?: Chart;
};

/** Optimizer steps averaged into one point of the loss curves: a batch is noisy. */
const smoothing = 10;

export async function demoCharts(results: DemoResults): Promise<DemoCharts> {
  const { rows, speeds } = results;
  const names = rows.map(({ name }) => name);
  const context = { label: 'context', unit: 'tokens', scale: 'log2', format: formatTokens } as const;
  const speedLines = (pick: (speed: DecodingSpeed) => number): { name: string; points: { x: number; y: number }[] }[] =>
    [...speeds].map(([name, measured]) => ({
      name,
      points: measured.map((speed) => ({ x: speed.context, y: pick(speed) })),
    }));
  const losses = rows.map(({ name, losses: own }) => ({ name, points: smoothed(own) }));
  const hidden = hiddenDifferences(losses);
  return {
    ...(hidden !== undefined && {
      differences: await lineChart({
        title: `Training loss minus that of ${hidden.from}`,
        description: `Difference of the mean loss per token from that of ${hidden.from}, for the mixers that run on it.`,
        x: { label: 'optimizer step' },
        y: { label: 'difference', unit: 'nats per token' },
        lines: hidden.lines,
      }),
    }),
    perplexity: await barChart({
      title: 'Held-out perplexity after the same fine-tuning',
      description: 'Perplexity of each mixer on the end of the book; lower is better.',
      categories: names,
      value: { label: 'perplexity' },
      barLabel: (value) => formatFixed(value, 2),
      marks: 'dots',
      horizontal: true,
      height: 90 + 34 * rows.length,
      bars: [{ name: 'after fine-tuning', values: rows.map(({ after }) => after) }],
    }),
    losses: await lineChart({
      title: 'Training loss',
      description: 'Mean loss per token over the optimizer steps, for each mixer.',
      x: { label: 'optimizer step' },
      y: { label: 'loss', unit: 'nats per token' },
      lines: losses,
    }),
    depths: await acceptanceByDepthChart(results.speculation),
    tree: acceptanceTreeChart(results.speculation),
    time: await lineChart({
      title: 'Time per token',
      description: 'Median time of one decoding step against the tokens already read.',
      x: context,
      y: { label: 'time per token', unit: 'ms', fromZero: true },
      lines: speedLines(({ timing }) => timing.medianMs),
    }),
    memory: await lineChart({
      title: 'Memory of a session',
      description: 'Bytes that a session keeps against the tokens already read.',
      x: context,
      y: { label: 'memory', scale: 'log2', format: formatBytes },
      lines: speedLines(({ stateBytes }) => stateBytes),
    }),
  };
}

function smoothed(losses: readonly { update: number; loss: number }[]): { x: number; y: number }[] {
  const points: { x: number; y: number }[] = [];
  for (let start = 0; start < losses.length; start += smoothing) {
    const part = losses.slice(start, start + smoothing);
    points.push({ x: part[part.length - 1].update, y: part.reduce((sum, { loss }) => sum + loss, 0) / part.length });
  }
  return points;
}

export function perplexityTable({ rows }: DemoResults): Table {
  return makeTable(
    [
      { header: 'mixer', value: ({ name }) => name },
      { header: 'fine-tuned', value: ({ after }) => after, format: fixed(2) },
      { header: 'after conversion', value: ({ before }) => before, format: fixed(1) },
      { header: 'branches', value: ({ mixer }) => describeMixer(mixer) },
    ],
    rows,
  );
}

function speedTable(results: DemoResults): Table {
  const [softmax = [], augmented = []] = ['softmax', 'augmented'].map((name) => results.speeds.get(name));
  const pairs = softmax.map((soft, index) => ({ soft, linear: augmented[index] }));
  const milliseconds = (value: number): string => formatFixed(value, 2);
  return makeTable(
    [
      { header: 'context', unit: 'tokens', value: ({ soft }) => soft.context, format: formatTokens },
      { header: 'softmax', unit: 'ms', value: ({ soft }) => soft.timing.medianMs, format: milliseconds },
      { header: 'augmented', unit: 'ms', value: ({ linear }) => linear.timing.medianMs, format: milliseconds },
      { header: 'cache', value: ({ soft }) => soft.stateBytes, format: formatBytes },
      { header: 'state', value: ({ linear }) => linear.stateBytes, format: formatBytes },
    ],
    pairs,
  );
}

/** Puts the page together. */
export function demoReport(
  modelName: string,
  options: DemoOptions & { readonly command: readonly string[] },
  { conversion, measures, charts: conversionCharts }: DemoConversion,
  results: DemoResults,
  charts: DemoCharts,
): Report {
  const { settings, rows, samples } = results;
  const [first] = rows;
  const sections: Section[] = [
    ...conversionSections(conversion, measures, conversionCharts),
    {
      title: "The paper's four ways",
      blocks: [
        {
          kind: 'text',
          text:
            `Softmax attention was replaced in every layer, and each variant was trained for the same ${settings.steps ?? 0} optimizer steps of ` +
            `${formatCount(settings.batch * settings.length)} tokens on a book the model had not seen (${options.data}). The last chapters were kept ` +
            `aside; perplexity is measured on ${formatCount(results.heldOutTokens)} of their tokens. Softmax went through the same training, as the reference. ` +
            'Right after the swap a linearized model predicts badly, because its weights were made for softmax; fine-tuning repairs that.',
        },
        { kind: 'chart', chart: charts.perplexity },
        {
          kind: 'table',
          table: perplexityTable(results),
          caption: `The original model had perplexity ${formatFixed(results.base, 2)}.`,
        },
        { kind: 'chart', chart: charts.losses, caption: `Each point is the mean of ${smoothing} optimizer steps.` },
        ...(charts.differences === undefined
          ? []
          : [
              {
                kind: 'chart' as const,
                chart: charts.differences,
                caption: 'The same as differences, of the lines above that run on one another; above zero is worse.',
              },
            ]),
      ],
    },
    {
      title: 'Text from a constant-size state',
      blocks: samples.flatMap(({ name, generation, stateBytes }) => [
        {
          kind: 'preformatted' as const,
          text: `${options.prompt}${generation.text}`,
          caption: `${name}: ${generation.tokens.length} tokens at ${formatFixed(generation.tokensPerSecond, 0)} tokens per second; the session holds ${formatBytes(stateBytes)}.`,
        },
      ]),
    },
    speculationSection(results.speculation, charts),
    {
      title: 'Time and memory against the context',
      blocks: [
        {
          kind: 'text',
          text:
            'A softmax model looks at every earlier token again for each new one, and keeps their keys and values. The augmented model keeps a state of ' +
            'constant size: the last positions of the open group and of the convolution, and one small matrix per head for everything before.',
        },
        { kind: 'chart', chart: charts.time },
        { kind: 'chart', chart: charts.memory },
        {
          kind: 'table',
          table: speedTable(results),
          caption: 'Median time of one step; what a session holds: the softmax cache, the augmented state.',
        },
      ],
    },
    {
      title: 'How it was measured',
      blocks: [
        {
          kind: 'facts',
          facts: [
            [
              'model',
              `${modelName} (${formatCount(parameterCount(first.parameters))} parameters before the mixers' own)`,
            ],
            [
              'training',
              `AdamW, peak learning rate ${settings.learningRate}, linear decay, ${settings.batch} × ${settings.length} tokens per update, seed ${settings.seed}`,
            ],
            ['time', `${formatDuration(results.seconds)} in all`],
            ...provenanceFacts(),
          ],
        },
      ],
    },
  ];
  return {
    title: 'Linnet: a linearized language model on this machine',
    subtitle: `${modelName}: softmax, a window with a memory, and the paper's four ways`,
    sections,
    footer: 'Made by linnet demo.',
    command: commandLine(options.command),
  };
}

function parameterCount(parameters: ReadonlyMap<string, { data: ArrayLike<number> }>): number {
  let total = 0;
  for (const { data } of parameters.values()) total += data.length;
  return total;
}
