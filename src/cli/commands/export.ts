/** `linnet export`: a model as ONNX that decodes by itself. */
import { openModelWeights } from '../../checkpoint/load-model.ts';
import { exportModel, headsOfFolder } from '../../export/export-model.ts';
import { type ExportManifest, storageTypeNames, storageTypes } from '../../export/manifest.ts';
import { ifFound } from '../../errors.ts';
import { requireGenerating } from '../../models/families/index.ts';
import { mtpStepModel } from '../../models/graphs/mtp-graph.ts';
import { describeSoftware } from '../../report/provenance.ts';
import { formatBytes } from '../../report/quantities.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { blockOption, requireBlocks, folderFor, folderOf, replaceOption } from '../options/model-options.ts';
import { defineCommand, optional, required, withDefault, settings } from '../framework/command.ts';
import type { CommandContext } from '../framework/context.ts';
import { describeHeads, headsJson, noteTokenizer } from '../output/model-summary.ts';
import { called, choice, countList } from '../framework/option-values.ts';

export const exportCommand = defineCommand({
  description:
    "Writes a model that generates text as a self-contained folder of ONNX files: the step graph with its weights, T5's encoder for several text " +
    'lengths, Medusa heads if the model has them, configuration and tokenizer, and linnet.json, which describes them. Copies weights from file to file ' +
    'one by one; linnet.json records the error of each matrix. `linnet eval agreement MODEL EXPORT` measures what the storage type costs. Commands ' +
    'that decode accept the folder in place of a model.',
  examples: [
    'linnet export linnet:tiny-llama --dtype w8a8 --out runs/tiny-w8a8',
    'linnet export runs/augmented --dtype int4 --block 128 --out runs/augmented-int4 --replace',
    'linnet export runs/augmented --dtype f16 --device webgpu --out runs/augmented-webgpu --json',
    'linnet export models/t5-small --dtype w8a8 --source-lengths 64,512 --out runs/t5-small-w8a8',
  ],
  arguments: { model: folderOf('the model') },
  options: {
    dtype: required(
      choice(storageTypeNames, 'type'),
      'how matrices are stored: f32; f16; w8a8, eight bits with activations in eight bits; int4, four bits in blocks; ' +
        'mixed, both: w8a8 reads prompts, int4 does all else',
    ),
    block: blockOption,
    device: withDefault(choice(['cpu', 'webgpu']), 'cpu', 'target of the graphs: cpu (WebAssembly too) or webgpu'),
    out: folderFor('the export'),
    replace: replaceOption,
    ...settings({
      sourceLengths: optional(
        called('counts', countList),
        'T5: lengths to pad input texts to, such as 64,512; longer texts are refused (default: doubling ' +
          'from 32 up to the trained length)',
      ),
    }),
  },
  replaced: { '--data': '`linnet eval agreement MODEL EXPORT --data …` afterwards' },
  async run(context, options) {
    const { model: folder, out, dtype, block, device, sourceLengths, replace } = options;
    requireBlocks(dtype, block);
    await using weights = await openModelWeights(folder);
    noteTokenizer(context, await ifFound(loadTokenizer(weights.path)));
    const model = requireGenerating(weights.model);
    await using medusa = await headsOfFolder(weights);
    const manifest = await context.withProgress('export', 'bytes', (hooks) =>
      exportModel(out, {
        model,
        weights,
        medusa,
        mtp: mtpStepModel(model, weights.names) !== undefined,
        dtype,
        block,
        device,
        sourceLengths,
        replace,
        tokenizerFiles: { from: weights.path },
        producer: describeSoftware().linnet,
        ...hooks,
      }),
    );
    printExport(context, out, manifest);
    const { files, weightBytes, report, prompt, encoder } = manifest;
    const bytes = Object.values(files).reduce((sum, file) => sum + file.bytes, 0);
    return {
      json: {
        out,
        dtype,
        block: manifest.block,
        device,
        bytes,
        weightBytes,
        prompt,
        encoder,
        medusa: headsJson(manifest.medusa),
        mtp: manifest.mtp ?? null,
        report,
      },
    };
  },
});

function printExport(context: CommandContext, out: string, manifest: ExportManifest): void {
  const { dtype, block, device, weightBytes, prompt, encoder } = manifest;
  const types = storageTypes[dtype];
  const type = block === undefined ? types.step : `${types.step} in blocks of ${block}`;
  context.print(`exported ${out}: ${type} for ${device}, weights ${formatBytes(weightBytes)}`);
  if (prompt !== undefined) {
    context.print(`prompts are read with ${types.prompt}, weights ${formatBytes(prompt.weightBytes)}`);
  }
  if (encoder !== undefined) {
    const lengths = encoder.lengths.join(', ');
    const encoderType = types.prompt ?? types.step;
    context.print(`encoder of ${lengths} tokens: ${encoderType}, weights ${formatBytes(encoder.weightBytes)}`);
  }
  if (manifest.mtp !== undefined) context.print('with a layer of multi-token prediction: --speculate mtp');
  if (manifest.medusa !== undefined) context.print(`with Medusa heads: ${describeHeads(manifest.medusa)}`);
}
