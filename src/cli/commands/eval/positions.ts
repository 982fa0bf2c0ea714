/** `linnet eval positions`: how perplexity goes on beyond the length that a model was trained for. */
import { readDocuments } from '../../../data/documents/documents.ts';
import { LinnetError } from '../../../errors.ts';
import { stepLosses } from '../../../evaluation/perplexity/losses.ts';
import { perplexityByPosition, type PositionLoss } from '../../../evaluation/perplexity/perplexity.ts';
import { writeFileAtomic } from '../../../files/atomic.ts';
import { lineChart } from '../../../report/charts/chart.ts';
import { fixed, formatBytes, formatCount } from '../../../report/quantities.ts';
import type { Column } from '../../../report/table.ts';
import type { CompileOptions } from '../../../runtime/compile.ts';
import { loadTokenizer } from '../../../tokenizer/tokenizer.ts';
import { defineCommand, engineOptions, optional, requiredList, withDefault } from '../../framework/command.ts';
import type { CommandContext } from '../../framework/context.ts';
import { called, countList, filePath, integer } from '../../framework/option-values.ts';
import { modelFolder } from '../../options/folder-parameters.ts';
import { documentSources, fieldOption } from '../../options/text-options.ts';
import { joinedTokens } from './joined-text.ts';
import { printSameTokens, type SameTokensText } from './same-tokens.ts';
import { openCausal } from '../../../open/running-model.ts';

export const evalPositions = defineCommand({
  description:
    'Measures perplexity by position: documents are joined to one text of --length tokens, which is read from its ' +
    'beginning in chunks, as decoding reads a prompt; positions are taken together in ranges that double. With --after, the ' +
    'same tokens are scored after less and after more of what precedes them, so that only their position differs. Several models ' +
    'are laid side by side, exported ones among them; they must share their tokenizer for the numbers to be comparable.',
  examples: [
    'linnet eval positions --models assets/tiny-llama runs/window --data book.txt --length 32768 --chart positions.svg',
    'linnet eval positions --models runs/window --data book.txt --after 512,4096,32768,131072 --json',
  ],
  arguments: {},
  options: {
    models: requiredList(called('folders', modelFolder), 'folders of the models, exported or not'),
    data: documentSources,
    field: fieldOption,
    length: optional(
      integer(2, 1 << 24, 'tokens'),
      'tokens of the text, BOS included (default: 8192, or as many as --after and --scored need)',
    ),
    after: optional(
      called('counts', countList),
      'tokens read before the last --scored ones of the text, such as 512,4096,32768',
    ),
    scored: withDefault(integer(2, 1 << 20, 'tokens'), 2048, 'tokens that are scored after each of --after'),
    chart: optional(filePath, 'where a chart goes, as SVG'),
    ...engineOptions,
  },
  writesResults: true,
  writes: ['chart'],
  async run(context, { models, data, field, length: asked, after, scored, chart, ...compile }) {
    const length = asked ?? (after === undefined ? 8192 : Math.max(...after) + scored);
    if (after !== undefined) {
      if (chart !== undefined)
        throw new LinnetError('INPUT', 'a chart is of ranges of positions; leave out --chart or --after');
      const text: SameTokensText = { data, field, length, after, scored };
      return { json: { length, scored, models: await printSameTokens(context, models, text, compile) } };
    }
    const results: ModelPositions[] = [];
    for (const folder of models) {
      const tokens = await joinedTokens(readDocuments(data, { field }), await loadTokenizer(folder), length);
      results.push(await measure(context, folder, tokens, compile));
    }
    context.table(
      results[0].positions.map((_, index) => index),
      columnsOf(results),
    );
    for (const { model, stateBytes } of results) context.print(`state of ${model}: ${formatBytes(stateBytes)}`);
    if (chart !== undefined) {
      await writeFileAtomic(chart, (await positionsChart(results)).svgFile());
      context.print(`wrote ${chart}`);
    }
    return { json: { length, models: results, ...(chart === undefined ? {} : { chart }) } };
  },
});

interface ModelPositions {
  readonly model: string;
  readonly positions: readonly PositionLoss[];
  /** Bytes of the session's state at the end. */
  readonly stateBytes: number;
}

async function measure(
  context: CommandContext,
  folder: string,
  tokens: Int32Array,
  compile: CompileOptions,
): Promise<ModelPositions> {
  await using opened = await openCausal(folder, compile);
  const { losses, stateBytes } = await context.withProgress(folder, 'tokens', (progress) =>
    stepLosses(
      opened.engine,
      { tokens, scoredFrom: 1 },
      {
        signal: context.signal,
        onProgress: (done, total) => {
          if (done % 128 === 0 || done === total) progress.update(done, total);
        },
      },
    ),
  );
  return { model: folder, positions: perplexityByPosition([losses]), stateBytes };
}

function columnsOf(results: readonly ModelPositions[]): Column<number>[] {
  const [{ positions }] = results;
  return [
    {
      header: 'positions',
      value: (index) => `${formatCount(positions[index].from)}–${formatCount(positions[index].to)}`,
      align: 'right',
    },
    ...results.map(
      (result): Column<number> => ({
        header: result.model,
        value: (index) => result.positions[index]?.perplexity,
        format: fixed(3),
      }),
    ),
  ];
}

function positionsChart(results: readonly ModelPositions[]) {
  return lineChart({
    title: 'Perplexity by position',
    description: 'Perplexity of the tokens of each range of positions of one long text.',
    x: { label: 'position', unit: 'tokens', scale: 'log2' },
    y: { label: 'perplexity', scale: 'log2', format: fixed(1) },
    lines: results.map(({ model, positions }) => ({
      name: model,
      points: positions.map(({ to, perplexity }) => ({ x: to + 1, y: perplexity })),
    })),
  });
}
