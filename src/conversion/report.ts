/** A conversion's report: one page that opens with the kept quality and the cost. */
import { describeMixer } from '../attention/mixers.ts';
import { harmlessKl } from '../evaluation/agreement/agreement.ts';
import { barChart, lineChart } from '../report/charts/chart.ts';
import type { Chart } from '../report/charts/chart-renderer.ts';
import type { Report, Section } from '../report/html.ts';
import { provenanceFacts } from '../report/provenance.ts';
import {
  fixed,
  formatBytes,
  formatCount,
  formatDuration,
  formatFixed,
  formatPercent,
  formatTokens,
  signedPercent,
} from '../report/quantities.ts';
import { type Column, makeTable } from '../report/table.ts';
import type { Conversion } from './convert.ts';
import type { ConversionMeasures } from './measure.ts';
import type { StageResult } from './progress-file.ts';

/** The charts, also written as image files. */
export type ConversionCharts = Readonly<
  Record<'stages' | 'memory' | 'positions' | 'recall' | 'ablation' | 'time', Chart>
>;

/**
 * Draws the report's charts.
 * @throws LinnetError `INPUT` for numbers that no axis shows
 * @example const { stages } = await conversionCharts(conversion, measures); console.log(stages.svgFile());
 */
export async function conversionCharts(
  conversion: Conversion,
  measures: ConversionMeasures,
): Promise<ConversionCharts> {
  const { progress } = conversion;
  const lines = <T>(
    pair: { readonly original: readonly T[]; readonly converted: readonly T[] },
    point: (value: T) => { x: number; y: number },
  ) => [
    { name: 'original', points: pair.original.map(point) },
    { name: 'converted', points: pair.converted.map(point) },
  ];
  const context = { label: 'context', unit: 'tokens', scale: 'log2', format: formatTokens } as const;
  const { memory } = measures;
  return {
    stages: await stageChart(progress),
    memory: await lineChart({
      title: 'Memory of a session',
      description: 'Bytes that a session holds against the tokens it has read: the cache of softmax, the state.',
      x: context,
      y: { label: 'memory', scale: 'log2', format: formatBytes },
      lines: (['original', 'converted'] as const).map((name) => ({
        name,
        points: memory.map((at) => ({ x: at.context, y: at[name] })),
      })),
    }),
    positions: await lineChart({
      title: 'Perplexity by position',
      description: 'Perplexity of the tokens at each range of positions of a long text.',
      x: { ...context, label: 'position' },
      y: { label: 'perplexity', scale: 'log2', format: fixed(1) },
      lines: lines(measures.positions, ({ to, perplexity }) => ({ x: to + 1, y: perplexity })),
    }),
    recall: await lineChart({
      title: 'Recall by distance',
      description: 'Mean −log p of a passage that was read once, so many tokens before; lower is better.',
      x: { ...context, label: 'distance' },
      y: { label: '−log p', unit: 'nats per token', fromZero: true },
      lines: lines(measures.recall, ({ distance, nll }) => ({ x: distance, y: nll })),
    }),
    ablation: await barChart({
      title: 'What each branch is worth, on test text',
      description: 'Perplexity of the converted model on test text with one branch switched off.',
      categories: ['whole', ...measures.ablation.map(({ without }) => `without ${without}`)],
      value: { label: 'perplexity' },
      barLabel: (value) => formatFixed(value, 3),
      // Branches also differ by little.
      marks: 'dots',
      horizontal: true,
      height: 90 + 34 * (1 + measures.ablation.length),
      bars: [
        {
          name: 'perplexity',
          values: [measures.perplexity.converted, ...measures.ablation.map(({ perplexity }) => perplexity)],
        },
      ],
    }),
    time: await lineChart({
      title: 'Time per token',
      description: 'Median time of one decoding step against the tokens already read.',
      x: context,
      y: { label: 'time per token', unit: 'ms', fromZero: true },
      lines: lines(measures.speed, ({ context: x, timing }) => ({ x, y: timing.medianMs })),
    }),
  };
}

/**
 * Stages differ by little, so the chart measures them against the original; one far beyond the others stands at the end of
 * the axis.
 */
function stageChart({ original, stages }: Conversion['progress']): Promise<Chart> {
  const changes = stages.map(({ perplexity }) => perplexity / original - 1);
  const [greatest = 0, second = 0] = changes.map(Math.abs).sort((a, b) => b - a);
  return barChart({
    title: 'Perplexity after each stage against the original, on validation text',
    description: 'Change of perplexity from the original after each stage of the conversion; lower is better.',
    categories: ['original', ...stages.map(({ name }) => name)],
    value: {
      label: 'change of perplexity',
      format: (value) => signedPercent(value, 1),
      max: second > 0 && greatest > 3 * second ? 1.25 * second : undefined,
    },
    barLabel: (value) => signedPercent(value, 2),
    marks: 'dots',
    bars: [{ name: 'change', values: [0, ...changes] }],
  });
}

/** Relative rises in perplexity up to which a conversion counts as good, and nearly as good, as its original. */
const asGood = 0.01;
const nearlyAsGood = 0.05;
/** Above this rise a conversion counts as much worse. */
const muchWorse = 0.2;
/** Share of equal next tokens from which a conversion writes like its original. */
const sameWriting = 0.98;
/** Below this p a difference counts as shown. */
const surely = 0.01;

/**
 * The verdict on a conversion, as a headline, and advice if it lost much or a stage was undone. It is as good as before if
 * test perplexity, KL and the next tokens all say so.
 */
export function conversionVerdict(
  { progress: { keptLayers, stages } }: Pick<Conversion, 'progress'>,
  { perplexity: { original, converted }, agreement }: Pick<ConversionMeasures, 'perplexity' | 'agreement'>,
): { readonly headline: string; readonly advice?: string } {
  const change = converted / original - 1;
  const layers = keptLayers.length === 1 ? 'one layer' : `${keptLayers.length} layers`;
  const memory = keptLayers.length === 0 ? 'at constant memory' : `with softmax in ${layers}`;
  const undone = undoneAdvice(stages);
  if (change <= asGood) {
    const { kl, p, sameNext } = agreement;
    if (p >= surely && sameNext >= sameWriting) return { headline: `As good as before, ${memory}`, advice: undone };
    const writing = `same next token ${formatPercent(sameNext, 0)} of the time, KL ${formatFixed(kl, 3)} nats`;
    const perplexity = change < -nearlyAsGood ? `Perplexity ${signedPercent(change)}` : 'Same perplexity';
    return { headline: `${perplexity}, different text: ${writing}, ${memory}`, advice: undone };
  }
  const measured = `perplexity ${signedPercent(change)}, ${memory}`;
  if (change <= nearlyAsGood) return { headline: `Nearly as good as before: ${measured}`, advice: undone };
  return {
    headline: `${change <= muchWorse ? 'Worse' : 'Much worse'} than before: ${measured}`,
    advice:
      'To lose less: train for longer (--budget), give the state more bytes (--state, or --group for a longer window), let the ' +
      'layers that lose most keep softmax (--keep auto:1), or train on more text of the kind that the model is for (--data).',
  };
}

/** Training stages that were undone, with their share of the time, and a remedy. */
function undoneAdvice(stages: readonly StageResult[]): string | undefined {
  const undone = stages.filter(({ kept, steps }) => !kept && steps > 0);
  if (undone.length === 0) return undefined;
  const seconds = (of: readonly StageResult[]): number => of.reduce((sum, stage) => sum + stage.seconds, 0);
  const share = formatPercent(seconds(undone) / seconds(stages), 0);
  return (
    `What did not help and was undone: ${undone.map(({ name }) => name).join(', ')}, ${share} of the time. Leave out with --steps ` +
    '(0 in that place), or give more text of the kind that the model is for (--data).'
  );
}

/** The stages with the report's word for each decision. */
function decidedStages({ progress }: Conversion) {
  let best: number | undefined;
  return progress.stages.map((stage) => {
    const isSame = best !== undefined && formatFixed(best, 3) === formatFixed(stage.perplexity, 3);
    if (stage.kept) best = stage.perplexity;
    return { ...stage, decision: isSame ? 'no change' : stage.kept ? 'yes' : 'no' };
  });
}

type Blocks = Section['blocks'];

/** A table with its caption; nothing without rows. */
function tableOf<Row>(rows: readonly Row[], caption: string, columns: readonly Column<Row>[]): Blocks {
  return rows.length === 0 ? [] : [{ kind: 'table', table: makeTable(columns, rows), caption }];
}

function shown(...charts: readonly Chart[]): Blocks {
  return charts.map((chart) => ({ kind: 'chart', chart }));
}

/** The verdict with its numbers, each branch's contribution, and recall from far away. */
function conversionSections(conversion: Conversion, measures: ConversionMeasures, charts: ConversionCharts): Section[] {
  const { mixer, progress } = conversion;
  const { original, converted } = measures.perplexity;
  const kept = progress.keptLayers.length === 0 ? 'none' : progress.keptLayers.join(', ');
  const { headline, advice } = conversionVerdict(conversion, measures);
  const branches = [
    ...offBlocks(conversion),
    ...(measures.ablation.length === 0 ? [] : shown(charts.ablation)),
    ...sensitivityBlocks(conversion),
  ];
  const text =
    `On test text, which decided nothing, the original has perplexity ${formatFixed(original, 3)} and the converted model ` +
    `${formatFixed(converted, 3)} (${signedPercent(converted / original - 1)} ± ${formatPercent(measures.ratioError)}, ` +
    `${formatCount(measures.extent.testTokens)} tokens). Attention became: ${describeMixer(mixer)}. ` +
    `Layers that keep softmax: ${kept}.${advice === undefined ? '' : `\n\n${advice}`}`;
  const caption =
    'On validation text. A stage is undone if the judge does not find the model better: by its perplexity, by KL from the ' +
    'original on text that the original writes, or by both together.';
  const stages = tableOf(decidedStages(conversion), caption, [
    { header: 'stage', value: 'name' },
    { header: 'perplexity', value: 'perplexity', format: fixed(3) },
    {
      header: 'against the original',
      value: (stage) => stage.perplexity / progress.original - 1,
      format: (value) => signedPercent(value, 2),
    },
    ...agreementColumns(progress.stages),
    { header: 'steps', value: 'steps' },
    { header: 'time', value: 'seconds', format: formatDuration },
    { header: 'kept', value: 'decision' },
  ]);
  return [
    {
      title: headline,
      blocks: [
        { kind: 'text', text },
        ...shown(charts.stages),
        ...stages,
        ...transferBlocks(conversion),
        ...shown(charts.memory),
      ],
    },
    ...(branches.length === 0 ? [] : [{ title: 'What each branch is worth', blocks: branches }]),
    { title: 'What it writes', blocks: agreementBlocks(measures) },
    { title: 'Far away', blocks: shown(charts.positions, charts.recall) },
  ];
}

/**
 * Assembles the page.
 * @param command the command line that made it
 * @example const charts = await conversionCharts(conversion, measures); await writeReport('report.html',
 *   conversionReport('tiny-llama', conversion, measures, charts));
 */
export function conversionReport(
  name: string,
  conversion: Conversion,
  measures: ConversionMeasures,
  charts: ConversionCharts,
  command?: string,
): Report {
  const subtitle = describeMixer(conversion.mixer);
  const sections: Section[] = [
    ...conversionSections(conversion, measures, charts),
    { title: 'Speed', blocks: shown(charts.time) },
    {
      title: 'Text',
      blocks: measures.samples.flatMap((sample) => [
        { kind: 'preformatted' as const, text: `${sample.prompt}${sample.original}`, caption: 'original' },
        { kind: 'preformatted' as const, text: `${sample.prompt}${sample.converted}`, caption: 'converted' },
      ]),
    },
    {
      title: 'How it was measured',
      blocks: [
        {
          kind: 'facts',
          facts: [['model', name], ...extentFacts(measures), ...provenanceFacts()],
        },
      ],
    },
  ];
  return { title: `${name}, linearized`, subtitle, sections, footer: 'Made by linnet convert.', command };
}

/** Every layer's error against the original's attention, before and after training by itself. */
function transferBlocks({ progress }: Conversion): Blocks {
  const layers = progress.stages.flatMap((stage) => stage.layers ?? []);
  const missed = (share: number): string => formatPercent(share, 2);
  const caption =
    "Squared error of a layer's mixed values over the squares of the original's, on rows of text that it was not trained on.";
  return tableOf(layers, caption, [
    { header: 'layer', value: 'layer' },
    { header: 'missed before', value: 'before', format: missed },
    { header: 'after transfer', value: ({ before, after }) => Math.min(before, after), format: missed },
  ]);
}

function sensitivityBlocks({ progress }: Conversion): Blocks {
  return tableOf(progress.sensitivity, 'What is lost per token when one layer alone is converted.', [
    { header: 'layer', value: 'layer' },
    { header: 'text', unit: 'nats', value: 'textLoss', format: fixed(4) },
    { header: 'recall', unit: 'nats', value: 'recallLoss', format: fixed(4) },
    { header: 'keeps softmax', value: ({ layer }) => (progress.keptLayers.includes(layer) ? 'yes' : '') },
  ]);
}

/** KL from the original, if the judge measured it. */
function agreementColumns(stages: readonly StageResult[]): Column<StageResult>[] {
  if (!stages.some(({ agreement }) => agreement !== undefined)) return [];
  return [{ header: 'KL', unit: 'nats', value: ({ agreement }) => agreement?.kl, format: fixed(4) }];
}

/** The branches that the judge switched off. */
function offBlocks({ progress }: Conversion): Blocks {
  const off = progress.stages.flatMap(({ name, kept }) =>
    kept ? [/^without (.*)$/.exec(name)?.[1] ?? []].flat() : [],
  );
  if (off.length === 0) return [];
  const text = `Off in the saved model, which the judge found better without: ${off.join(', ')}.`;
  return [{ kind: 'text', text }];
}

function agreementBlocks({ agreement }: ConversionMeasures): Blocks {
  const { prompts, tokens, greedyLength, sameNext, kl, p } = agreement;
  return [
    {
      kind: 'text',
      text:
        `The original continued ${formatCount(prompts)} prompt${prompts === 1 ? '' : 's'} out of the test text by ${tokens} tokens each. The converted model ` +
        `writes the first ${formatFixed(greedyLength, 1)} of them alike, and after the original's own words it chooses the same next ` +
        `token ${formatPercent(sameNext, 1)} of the time; KL is ${formatFixed(kl, 4)} nats a token, ` +
        `${p < surely ? 'more than' : 'not shown to be more than'} the ${harmlessKl} of a harmless change (p ${formatFixed(p, 4)}).`,
    },
    ...tableOf(agreement.positions, 'By position in the continuation.', [
      { header: 'position', value: ({ from, to }) => (from === to ? `${from}` : `${from}–${to}`), align: 'right' },
      { header: 'same next token', value: 'sameNext', format: (share) => formatPercent(share, 1) },
      { header: 'KL', unit: 'nats', value: 'kl', format: fixed(4) },
    ]),
  ];
}

/** The amounts of text behind the numbers. */
function extentFacts({ extent }: ConversionMeasures): [string, string][] {
  const { testWindows, testTokens, positionWindows, positionLength, probes, prompts, steps, isCut } = extent;
  return [
    ['perplexity', `${formatCount(testTokens)} tokens; windows: ${formatCount(testWindows)}`],
    ['perplexity by position', `windows of ${formatCount(positionLength)} tokens: ${formatCount(positionWindows)}`],
    ['recall', `${probes} probes of each distance`],
    ['agreement', `at most ${prompts} prompts`],
    ['speed', `${steps} steps at each context`],
    ...(isCut ? [['amounts', 'chosen to fit a fifth of the budget'] satisfies [string, string]] : []),
  ];
}
