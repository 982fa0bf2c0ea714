/** `linnet eval positions`: perplexity beyond a model's trained length. */
import { extname } from 'node:path';
import { scoredBytes } from '../../../engine/scoring/sequence-scorer.ts';
import { type ModelWeights, openCausalWeights } from '../../../checkpoint/load-model.ts';
import { segmentWeights } from '../../../checkpoint/stored-parameter.ts';
import type { Document } from '../../../data/documents/document.ts';
import { documentTokens } from '../../../data/documents/document-tokens.ts';
import { readDocuments } from '../../../data/documents/documents.ts';
import { LinnetError } from '../../../errors.ts';
import { lossesMemory, readByLayers, readBySteps, type ReadLosses } from '../../../evaluation/perplexity/losses.ts';
import { perplexityByPosition } from '../../../evaluation/perplexity/perplexity.ts';
import { sameTokenLosses } from '../../../evaluation/perplexity/same-tokens.ts';
import { writeFileAtomic } from '../../../files/atomic.ts';
import type { FormPlan } from '../../../training/memory-form.ts';
import { lineChart } from '../../../report/charts/chart.ts';
import { fixed, formatBytes, formatCount } from '../../../report/quantities.ts';
import type { Column } from '../../../report/table.ts';
import { tokensBefore } from '../../../tokenizer/encode-text.ts';
import { loadTokenizer, type Tokenizer } from '../../../tokenizer/tokenizer.ts';
import { defineCommand, engineOptions, optional, requiredList, settings } from '../../framework/command.ts';
import type { WorkHooks } from '../../framework/context.ts';
import { UsageError } from '../../framework/exit-codes.ts';
import { called, countList, filePath, integer } from '../../framework/option-values.ts';
import { formOptions } from '../../options/memory-option.ts';
import { modelFolder } from '../../options/model-options.ts';
import { type LayeredMemory, requireOpeningMemory } from '../../options/opening-memory.ts';
import { reportForms } from '../../output/training-report.ts';
import { documentSources, fieldOption } from '../../options/text-options.ts';
import { open } from '../../../open/index.ts';

export const evalPositions = defineCommand({
  description:
    'Measures perplexity by position: joins documents into one text of --length tokens, read from its beginning in chunks, as decoding reads a prompt, ' +
    'and groups positions in ranges that double. --after scores the same tokens after less and after more of the preceding text, so that only their ' +
    'position differs. Compares several models, also exported ones; their numbers are comparable only if they share a tokenizer.',
  examples: [
    'linnet eval positions --models linnet:tiny-llama runs/window --data book.txt --length 32768 --chart positions.svg',
    'linnet eval positions --models runs/window --data book.txt --after 512,4096,32768,131072 --json',
  ],
  arguments: {},
  options: {
    models: requiredList(called('folders', modelFolder), 'models, exported or not: folders or .gguf files'),
    data: documentSources,
    length: optional(
      integer(2, 1 << 24, 'tokens'),
      'tokens of the text, BOS included (default: 8192, or as many as --after and `scored` need)',
    ),
    after: optional(called('counts', countList), 'tokens read before the last `scored` ones, such as 512,4096,32768'),
    chart: optional(filePath, 'file for a chart, as SVG'),
    ...formOptions,
    ...engineOptions,
    ...settings({
      field: fieldOption,
      scored: optional(integer(2, 1 << 20, 'tokens'), 'tokens scored after each of --after (default: 2048)'),
    }),
  },
  writesResults: true,
  writes: ['chart'],
  async run(context, { scored: given, length: asked, ...options }) {
    const { models, data, field, after, chart, memory, plan: onlyPlan, ...compile } = options;
    if (given !== undefined && after === undefined) throw new UsageError('--scored needs --after');
    const scored = given ?? 2048;
    const length = asked ?? (after === undefined ? 8192 : Math.max(...after) + scored);
    if (chart !== undefined && extname(chart).toLowerCase() !== '.svg') {
      throw new UsageError(`--chart is ${chart}; charts are SVG: name a file such as positions.svg`);
    }
    if (after !== undefined && chart !== undefined) {
      throw new UsageError('--chart shows ranges of positions, which --after does not measure; leave out one');
    }
    const lengths = after?.map((depth) => depth + scored) ?? [length];
    const planOf = (folder: string): Promise<FormPlan> =>
      requireOpeningMemory(folder, { memory, results: scoredBytes }, (weights) => layersMemory(weights, lengths));
    if (onlyPlan) {
      const stages = [];
      for (const name of models) stages.push({ name, ...(await planOf(name)) });
      return reportForms(context, stages, memory);
    }
    const ofEach = async <T>(measure: (text: MeasuredText, hooks: WorkHooks) => Promise<T>) => {
      const results: (T & FormPlan & { readonly model: string })[] = [];
      for (const folder of models) {
        const plan = await planOf(folder);
        const tokenizer = await loadTokenizer(folder);
        const tokens = await joinedTokens(readDocuments(data, { field }), tokenizer, length);
        await using opened = plan.form === 'whole' ? await open(folder, compile) : await openCausalWeights(folder);
        const read = 'engine' in opened ? readBySteps(await opened.engine()) : readByLayers(opened, compile);
        const text = { read, tokens, begin: tokensBefore(tokenizer) };
        const result = await context.withProgress(folder, 'tokens', (hooks) => measure(text, hooks));
        results.push({ model: folder, ...plan, ...result });
      }
      return results;
    };
    if (after !== undefined) {
      const results = await ofEach(async ({ read, tokens, begin }, hooks) => ({
        depths: await sameTokenLosses(read, tokens.subarray(begin.length), { after, scored, begin, ...hooks }),
      }));
      const rows = results.flatMap(({ model, depths }) => depths.map((depth) => ({ model, ...depth })));
      context.table(rows, [
        { header: 'model', value: 'model' },
        { header: 'after', value: 'after', format: formatCount, align: 'right' },
        { header: 'perplexity', value: 'perplexity', format: fixed(3) },
        { header: 'of the first', value: 'ratio', format: fixed(4) },
        { header: '±', value: 'ratioError', format: fixed(4) },
        { header: 'state', value: 'stateBytes', format: formatBytes },
      ]);
      return { json: { length, scored, models: results } };
    }
    const results = await ofEach(async ({ read, tokens }, hooks) => {
      const [{ losses, stateBytes }] = await read([{ tokens, scoredFrom: 1 }], hooks);
      return { positions: perplexityByPosition([losses]), stateBytes };
    });
    const [{ positions }] = results;
    const rows = positions.map((range, index) => {
      return { range, values: results.map((result) => result.positions[index]?.perplexity) };
    });
    context.table(rows, [
      {
        header: 'positions',
        value: ({ range: { from, to } }) => `${formatCount(from)}–${formatCount(to)}`,
        align: 'right',
      },
      ...models.map((header, i): Column<{ values: number[] }> => {
        return { header, value: ({ values }) => values[i], format: fixed(3) };
      }),
    ]);
    for (const { model, stateBytes } of results) context.print(`state of ${model}: ${formatBytes(stateBytes)}`);
    if (chart !== undefined) {
      const drawn = await lineChart({
        title: 'Perplexity by position',
        description: 'Perplexity of the tokens of each range of positions of one long text.',
        x: { label: 'position', unit: 'tokens', scale: 'log2' },
        y: { label: 'perplexity', scale: 'log2', format: fixed(1) },
        lines: results.map(({ model, positions: ranges }) => ({
          name: model,
          points: ranges.map(({ to, perplexity }) => ({ x: to + 1, y: perplexity })),
        })),
      });
      await writeFileAtomic(chart, drawn.svgFile());
      context.print(`wrote ${chart}`);
    }
    return { json: { length, models: results, chart } };
  },
});

/** A reader of a model, and the text in its tokens, which begins with `begin`. */
interface MeasuredText {
  readonly read: ReadLosses;
  readonly tokens: Int32Array;
  readonly begin: readonly number[];
}

function layersMemory({ model, parameters }: ModelWeights, lengths: readonly number[]): LayeredMemory {
  if (model.kind !== 'causal') return {};
  const windows = lengths.map((length) => ({ tokens: new Int32Array(length), scoredFrom: 1 }));
  return { ...lossesMemory(model, windows, segmentWeights(parameters)), remedies: ['a smaller `length`'] };
}

/** The documents joined into one text with one beginning. @throws LinnetError `INPUT` if they are too short */
async function joinedTokens(documents: AsyncIterable<Document>, tokenizer: Tokenizer, length: number) {
  const tokens = new Int32Array(length);
  let filled = 0;
  for await (const { text } of documents) {
    const part = documentTokens(tokenizer, text, filled === 0 ? 'auto' : false);
    tokens.set(part.subarray(0, length - filled), filled);
    filled = Math.min(length, filled + part.length);
    if (filled === length) return tokens;
  }
  throw new LinnetError('INPUT', `the text has ${filled} tokens, expected ${length}; give more text or read less`);
}
