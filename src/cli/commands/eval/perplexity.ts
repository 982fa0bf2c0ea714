/** `linnet eval perplexity`: how well a model predicts a text. */
import { scoredBytes } from '../../../engine/scoring/sequence-scorer.ts';
import { basename, resolve } from 'node:path';
import { type Branch, branches } from '../../../attention/mixer.ts';
import { openCausalWeights, readParameters } from '../../../checkpoint/load-model.ts';
import { segmentWeights } from '../../../checkpoint/stored-parameter.ts';
import type { Document } from '../../../data/documents/document.ts';
import { readDocuments } from '../../../data/documents/documents.ts';
import { LinnetError } from '../../../errors.ts';
import {
  type EvaluateOptions,
  perplexity,
  type PerplexityResult,
  stepPerplexity,
} from '../../../evaluation/perplexity/perplexity.ts';
import { type EvaluationData, evaluationData, windowModeOf } from '../../../evaluation/perplexity/scored-windows.ts';
import { lossesMemory } from '../../../evaluation/perplexity/losses.ts';
import { isExport } from '../../../open/folder-files.ts';
import { chooseForm, type FormPlan } from '../../../training/memory-form.ts';
import { modelWithout } from '../../../models/linearization/linearize.ts';
import { fixed, formatCount, formatFixed } from '../../../report/quantities.ts';
import type { CompileOptions } from '../../../runtime/compile.ts';
import { loadTokenizer } from '../../../tokenizer/tokenizer.ts';
import {
  defineCommand,
  engineOptions,
  optional,
  requiredList,
  withDefault,
  settings,
} from '../../framework/command.ts';
import type { CommandContext } from '../../framework/context.ts';
import { UsageError } from '../../framework/exit-codes.ts';
import { called, choice, indexRange, type IndexRange, integer } from '../../framework/option-values.ts';
import { formOptions } from '../../options/memory-option.ts';
import { modelFolder } from '../../options/model-options.ts';
import { requireOpeningMemory } from '../../options/opening-memory.ts';
import { reportForms } from '../../output/training-report.ts';
import { documentSources, fieldOption } from '../../options/text-options.ts';
import { open } from '../../../open/index.ts';

export const evalPerplexity = defineCommand({
  description:
    'Measures perplexity: exp of the mean −log p over all predicted tokens. A .jsonl file is a collection of documents, each read as BOS + text cut to ' +
    '--length tokens. Other text is read to its end through a window of --length tokens that advances by --stride; a token counts once, in the first ' +
    'window that sees it. Several models are measured on the same text, one after the other, and compared.',
  examples: [
    'linnet eval perplexity linnet:tiny-llama --data stories.jsonl --length 512',
    'linnet eval perplexity runs/augmented --data stories.jsonl --documents 110-129 --json',
    'linnet eval perplexity linnet:tiny-llama --data book.txt --length 1024 --stride 512',
    'linnet eval perplexity runs/window --data book.txt --without memory',
    'linnet eval perplexity runs/base runs/augmented runs/augmented-int4 --data book.txt --out perplexity.json',
  ],
  arguments: {
    models: requiredList(called('folders', modelFolder), 'models, exported or not: folders or .gguf files'),
  },
  options: {
    data: documentSources,
    length: withDefault(integer(2, 1 << 20, 'tokens'), 512, 'tokens the model reads at once, BOS included'),
    documents: optional(indexRange, 'read only these documents, counted from 0 over all sources (default: all)'),
    without: optional(choice(branches, 'branch'), `switch a branch of all mixers off: ${branches.join(', ')}`),
    ...formOptions,
    ...engineOptions,
    ...settings({
      stride: optional(integer(1, 1 << 20, 'tokens'), 'step of the window over plain text (default: half of --length)'),
      mode: optional(
        choice(['documents', 'text']),
        'documents, or text in a sliding window, as above (default: by file names)',
      ),
      limitDocuments: optional(integer(1), 'read only this many first documents'),
      field: fieldOption,
    }),
  },
  writesResults: true,
  async run(context, options) {
    const {
      models,
      data,
      length,
      stride,
      mode = windowModeOf(options.data),
      documents,
      limitDocuments,
      without,
      memory,
      plan,
      field,
      ...compile
    } = options;
    const range = selectedRange(documents, limitDocuments);
    if (stride !== undefined && mode === 'documents') {
      throw new UsageError('--stride moves windows over plain text; give --mode text too, or leave it out');
    }
    if (stride !== undefined && stride > length) {
      const most = `expected at most --length, ${length}, or tokens would be skipped`;
      throw new UsageError(`--stride is ${stride}; ${most}`);
    }
    const stages: (FormPlan & { readonly name: string })[] = [];
    const rows: (PerplexityResult & FormPlan & { readonly model: string })[] = [];
    for (const folder of models) {
      await using opened = await openMeasure(folder, compile, { without, memory });
      const { trainedLength } = opened.model.sizes;
      if (length > trainedLength) {
        context.note(
          `warning: windows have ${length} tokens, ${folder} was trained for ${trainedLength}: expect worse predictions beyond that`,
        );
      }
      const selected = selectDocuments(context, readDocuments(data, { field }), range);
      const windowing = { mode, length, stride };
      const windows = await evaluationData(selected, await loadTokenizer(folder), windowing);
      const form = opened.plan(windows);
      stages.push({ name: folder, ...form });
      if (plan) continue;
      const label = models.length === 1 ? 'perplexity' : basename(resolve(folder));
      const result = await context.withProgress(label, 'windows', ({ signal, onProgress }) =>
        opened.measure(windows, form, {
          signal,
          onProgress: ({ windows: done, totalWindows, nll }) =>
            onProgress(done, totalWindows, `perplexity ${formatFixed(Math.exp(nll), 3)}`),
        }),
      );
      rows.push({ model: folder, ...form, ...result });
    }
    if (plan) return reportForms(context, stages, memory);
    const asked = { length, without };
    const [first] = rows;
    if (rows.length === 1) {
      const { model: _, ...result } = first;
      context.print(
        `perplexity ${formatFixed(result.perplexity, 4)} (${formatFixed(result.nll, 5)} nats per token, ` +
          `${formatCount(result.tokens)} tokens, ${formatCount(result.documents, 'document')})`,
      );
      return { json: { ...result, ...asked } };
    }
    context.table(rows, [
      { header: 'model', value: 'model' },
      { header: 'perplexity', value: 'perplexity', format: fixed(4) },
      { header: 'change', unit: '%', value: (row) => 100 * (row.perplexity / first.perplexity - 1), format: fixed(2) },
      { header: 'nats per token', value: 'nll', format: fixed(5) },
      { header: 'tokens', value: 'tokens', format: formatCount },
    ]);
    if (rows.some(({ tokens }) => tokens !== first.tokens)) {
      context.note(
        'the models split the text into different numbers of tokens: perplexities per token cannot be compared',
      );
    }
    return { json: { models: rows, ...asked } };
  },
});

/** A model with its measurement: whole windows at once; in chunks of an exported model, which has the step form alone. */
async function openMeasure(
  folder: string,
  compile: CompileOptions,
  { without, memory }: { readonly without?: Branch; readonly memory?: number },
) {
  if (await isExport(folder)) {
    if (without !== undefined) {
      throw new UsageError("--without needs a model that is not exported: an export's graph has fixed branches");
    }
    const plan = await requireOpeningMemory(folder, { memory, results: scoredBytes });
    const opened = await open(folder, compile);
    return {
      model: opened.description,
      plan: () => plan,
      measure: async (data: EvaluationData, _: FormPlan, options: EvaluateOptions) =>
        await stepPerplexity(await opened.engine(), data, options),
      [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
    };
  }
  const weights = await openCausalWeights(folder);
  const measured = () => (without === undefined ? weights.model : modelWithout(weights.model, without));
  return {
    model: weights.model,
    plan({ windows }: EvaluationData): FormPlan {
      const bytes = lossesMemory(measured(), windows, segmentWeights(weights.parameters));
      return chooseForm('perplexity', bytes, memory, ['a smaller `length`']);
    },
    async measure(data: EvaluationData, { form }: FormPlan, options: EvaluateOptions) {
      const parameters = form === 'whole' ? await readParameters(weights) : weights.parameters;
      return await perplexity(measured(), parameters, data, { ...compile, ...options });
    },
    [Symbol.asyncDispose]: () => weights[Symbol.asyncDispose](),
  };
}

function selectedRange(range: IndexRange | undefined, limit: number | undefined): IndexRange | undefined {
  if (range !== undefined && limit !== undefined) {
    throw new UsageError('--documents and --limit-documents both select documents; give only one');
  }
  return limit === undefined ? range : { first: 0, last: limit - 1 };
}

/** The documents of a range; reading ends with the last of them. */
async function* selectDocuments(
  context: CommandContext,
  documents: AsyncIterable<Document>,
  range: IndexRange | undefined,
): AsyncGenerator<Document> {
  let index = 0;
  for await (const document of documents) {
    if (range === undefined || index >= range.first) yield document;
    index++;
    if (range !== undefined && index > range.last) return;
  }
  if (range === undefined) return;
  const { first, last } = range;
  if (index <= first) {
    throw new LinnetError('INPUT', `--documents is ${first}-${last}, but there are only ${index} documents`);
  }
  context.note(`warning: there are only ${index} documents; reading ${first}-${index - 1} of ${first}-${last}`);
}
