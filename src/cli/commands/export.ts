/** `linnet export`: a model as ONNX that decodes by itself, and the loss by its storage type. */
import { openModelWeights } from '../../checkpoint/load-model.ts';
import { readDocuments } from '../../data/documents/documents.ts';
import { evaluationData, halvedWindows, windowModeOf } from '../../evaluation/perplexity/scored-windows.ts';
import { exportModel, headsOfFolder } from '../../export/export-model.ts';
import {
  type ErrorReport,
  type ExportManifest,
  type MeasuredErrors,
  type OutputError,
  storageTypeNames,
  storageTypes,
} from '../../export/manifest.ts';
import { ifFound } from '../../errors.ts';
import { measureError, notCompared, type ReportText } from '../../evaluation/precision/measure-error.ts';
import { ownText } from '../../evaluation/precision/own-text.ts';
import { requireGenerating } from '../../models/families/index.ts';
import { byKind, decoderOf, type GeneratingModel } from '../../models/model.ts';
import { describeSoftware } from '../../report/provenance.ts';
import { formatBytes, formatCount, formatFixed, formatNumber } from '../../report/quantities.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { blockOption, requireBlocks, folderFor, folderOf, replaceOption } from '../options/model-options.ts';
import { defineCommand, flag, optional, optionalList, required, withDefault, settings } from '../framework/command.ts';
import type { CommandContext } from '../framework/context.ts';
import { describeHeads, headsJson, noteTokenizer } from '../output/model-summary.ts';
import { called, choice, countList, integer, text } from '../framework/option-values.ts';

export const exportCommand = defineCommand({
  description:
    'Writes a model that generates text as a folder of ONNX files that decodes by itself: the step graph with its weights ' +
    'next to it, of T5 also the encoder for texts of several lengths, Medusa heads where the model has them, configuration and tokenizer, and linnet.json, which says what they are. ' +
    'Weights go from file to file one by one. What the storage type costs, by matrix, by layer and in all, is measured ' +
    'against float32 and noted in linnet.json: on --data, or on text that the model generates itself, which shows how far ' +
    'the outputs move and not how well the model predicts. Commands that decode take the folder wherever they take a model.',
  examples: [
    'linnet export assets/tiny-llama --dtype w8a8 --out runs/tiny-w8a8',
    'linnet export runs/augmented --dtype int4 --block 128 --data book.txt --out runs/augmented-int4 --replace',
    'linnet export runs/augmented --dtype f16 --device webgpu --out runs/augmented-webgpu --json',
    'linnet export models/t5-small --dtype w8a8 --set sourceLengths=64,512 --out runs/t5-small-w8a8',
  ],
  arguments: { model: folderOf('the model') },
  options: {
    dtype: required(
      choice(storageTypeNames, 'type'),
      'how matrices are stored: f32; f16; w8a8, eight bits with activations in eight bits; int4, four bits in blocks; ' +
        'mixed, both of them: prompts are read with w8a8, all else with int4',
    ),
    block: blockOption,
    device: withDefault(choice(['cpu', 'webgpu']), 'cpu', 'target of the graphs: cpu (WebAssembly too) or webgpu'),
    out: folderFor('the export'),
    replace: replaceOption,
    data: optionalList(
      called('sources', text),
      '.txt, .jsonl or npm:PACKAGE to compare outputs on (default: text that the model generates itself; of T5 none)',
    ),
    threads: optional(integer(1, 1024), 'threads of the comparison (default: one per core)'),
    ...settings({
      sourceLengths: optional(
        called('counts', countList),
        'of T5: lengths that texts to read are padded to, such as 64,512; longer texts are refused (default: by doubling ' +
          'from 32 up to the trained length)',
      ),
      tokens: withDefault(integer(2, 1 << 20), 1024, 'tokens of the text to compare'),
      verbose: flag('print the errors of every matrix and layer too'),
      skipReport: flag('do not compare outputs and layers with float32, which loads the model'),
    }),
  },
  async run(context, options) {
    const { model: folder, out, dtype, block, device, sourceLengths, replace, threads } = options;
    const { signal } = context;
    requireBlocks(dtype, block);
    await using weights = await openModelWeights(folder);
    noteTokenizer(context, await ifFound(loadTokenizer(weights.path)));
    const writing = context.progress('export', 'bytes');
    try {
      const model = requireGenerating(weights.model);
      await using medusa = await headsOfFolder(weights);
      const reportText = options.skipReport
        ? '--set skipReport'
        : await textOfReport(context, model, weights.path, options);
      const measure = async (written: string): Promise<MeasuredErrors> => {
        writing.finish();
        if (typeof reportText === 'string') return notCompared(reportText);
        return context.withProgress('compare', 'windows', (comparing) =>
          measureError(written, weights, reportText, {
            ...{ threads, signal },
            onProgress: ({ windows, totalWindows }) => comparing.update(windows, totalWindows),
          }),
        );
      };
      const manifest = await exportModel(out, {
        ...{ model, weights, medusa, dtype, block, device, sourceLengths, replace, measure, signal },
        ...{ tokenizerFiles: { from: weights.path }, producer: describeSoftware().linnet },
        onProgress: (written, total) => writing.update(written, total),
      });
      printExport(context, out, manifest, options.verbose);
      const { files, weightBytes, report, prompt, encoder } = manifest;
      const bytes = Object.values(files).reduce((sum, file) => sum + file.bytes, 0);
      return {
        json: {
          ...{ out, dtype, block: manifest.block, device, bytes, weightBytes, prompt, encoder },
          ...{ medusa: headsJson(manifest.medusa), report },
        },
      };
    } finally {
      writing.finish();
    }
  },
});

/** The text of the comparison, or the reason why there is none. */
async function textOfReport(
  context: CommandContext,
  model: GeneratingModel,
  folder: string,
  { data: sources, tokens }: { readonly data?: readonly string[]; readonly tokens: number },
): Promise<ReportText | string> {
  if (sources !== undefined) return givenText(model, folder, sources, tokens);
  if (decoderOf(model).cross !== undefined) return 'the model generates no text by itself; give --data';
  if (model.bosId === undefined) return 'the model has no BOS token to begin a text of its own with; give --data';
  return {
    name: ownTextName,
    data: (engine) =>
      context.withProgress('text', 'tokens', (_, hooks) =>
        ownText(engine, { tokens, length: Math.min(ownTextLength, model.sizes.trainedLength, tokens), ...hooks }),
      ),
  };
}

/** Name in linnet.json of the text that the perplexity was measured on. */
const ownTextName = 'text that the model generated itself';

/** Tokens of one text: enough to see an error build up, few enough that a large model is done in a minute or two. */
const ownTextLength = 128;

async function givenText(
  model: GeneratingModel,
  folder: string,
  sources: readonly string[],
  tokens: number,
): Promise<ReportText> {
  const length = Math.min(512, model.sizes.trainedLength, tokens);
  const tokenizer = await loadTokenizer(folder);
  const data = await evaluationData(firstDocuments(sources, tokens), tokenizer, {
    mode: windowModeOf(sources),
    length,
    stride: length,
  });
  const windows = data.windows.slice(0, Math.ceil(tokens / length));
  const ofModel = byKind(model, {
    causal: () => windows,
    'encoder-decoder': (own) => halvedWindows(windows, own),
  });
  return { name: sources.join(' '), data: { windows: ofModel, documents: data.documents } };
}

/** Enough documents for a number of tokens, of which each has a character at least. */
async function* firstDocuments(sources: readonly string[], tokens: number): AsyncGenerator<{ readonly text: string }> {
  let characters = 0;
  for await (const document of readDocuments(sources)) {
    yield document;
    characters += document.text.length;
    if (characters > charactersPerToken * tokens) return;
  }
}

/** More than any tokenizer makes one token of, on average. */
const charactersPerToken = 16;

function printExport(context: CommandContext, out: string, manifest: ExportManifest, verbose: boolean): void {
  const { dtype, block, device, weightBytes, prompt, encoder, report } = manifest;
  const types = storageTypes[dtype];
  const type = block === undefined ? types.step : `${types.step} in blocks of ${block}`;
  context.print(`exported ${out}: ${type} for ${device}, weights ${formatBytes(weightBytes)}`);
  if (prompt !== undefined) {
    context.print(`prompts are read with ${types.prompt}, weights ${formatBytes(prompt.weightBytes)}`);
    context.print(`errors are those of ${types.step}`);
  }
  if (encoder !== undefined) {
    const lengths = encoder.lengths.join(', ');
    const encoderType = types.prompt ?? types.step;
    context.print(`encoder of ${lengths} tokens: ${encoderType}, weights ${formatBytes(encoder.weightBytes)}`);
  }
  if (manifest.medusa !== undefined) context.print(`with Medusa heads: ${describeHeads(manifest.medusa)}`);
  if (verbose) {
    printMatrices(context, report);
    printLayers(context, report);
  }
  if (report.note !== undefined) context.note(report.note);
  if (report.outputs !== undefined) context.print(summaryOf(report.outputs));
}

function summaryOf({ text, tokens, perplexity, sameChoice, meanLogit, maxLogit }: OutputError): string {
  const { float32, exported } = perplexity;
  const change = formatFixed(100 * (exported / float32 - 1), 2);
  return (
    `perplexity ${formatFixed(exported, 4)}, in float32 ${formatFixed(float32, 4)} (${change} %), on ` +
    `${formatCount(tokens)} tokens of ${text}; the same top-1 at ${formatFixed(100 * sameChoice, 1)} %; ` +
    `logits differ by ${shortNumber(meanLogit)} on average, ${shortNumber(maxLogit)} at most`
  );
}

function printMatrices(context: CommandContext, { weights }: ErrorReport): void {
  const rows = Object.entries(weights);
  if (rows.length === 0) return;
  context.print('');
  context.table(rows, [
    { header: 'matrix', value: ([name]) => name },
    { header: 'largest error', unit: '% of peak', value: ([, { max }]) => 100 * max, format: shortNumber },
    { header: 'rms error', unit: '% of rms', value: ([, { rms }]) => 100 * rms, format: shortNumber },
  ]);
  context.print('');
}

function printLayers(context: CommandContext, { layers, layerTokens }: ErrorReport): void {
  if (layers === undefined || layerTokens === undefined) return;
  const rows = layers.map((error, layer) => ({ layer, ...error }));
  context.print(`hidden states after every layer, over the first ${formatCount(layerTokens)} tokens:\n`);
  context.table(rows, [
    { header: 'layer', value: ({ layer }) => layer },
    { header: 'mean difference', unit: '% of rms', value: ({ mean }) => 100 * mean, format: shortNumber },
    { header: 'largest', unit: '% of rms', value: ({ max }) => 100 * max, format: shortNumber },
    { header: 'rms in float32', value: ({ activationRms }) => activationRms, format: shortNumber },
  ]);
  context.print('');
}

const shortNumber = (value: number): string => formatNumber(value, 3);
