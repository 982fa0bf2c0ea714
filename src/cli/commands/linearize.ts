/** `linnet linearize`: swaps the mixers of a model and saves the result, ready for fine-tuning. */
import { convolutionOf, type MixerConfig, mixerPresetNames, parseMixer } from '../../attention/mixer.ts';
import { loadModel, saveModel } from '../../checkpoint/load-model.ts';
import { linearize } from '../../models/linearize.ts';
import type { ModelDescription } from '../../models/model.ts';
import { formatCount } from '../../report/quantities.ts';
import { defineCommand, flag, optional, required, withDefault } from '../command.ts';
import { configureMixer, mixerOptions } from '../mixer-options.ts';
import { countParameters, layerSpan, mixerRuns } from '../model-summary.ts';
import { choice, indexList, integer, path } from '../option-values.ts';

export const linearizeCommand = defineCommand({
  description:
    'Replaces the attention of some or all layers and saves the model as a new Hugging Face folder, tokenizer ' +
    'included. All weights are kept; new parameters start neutral (α = 0, λ = 1, taps 0). The result predicts badly ' +
    'until it is fine-tuned. --mixer linformer is the causal form by blocks in a causal model, and the published form, which reads ' +
    'the whole text, in an encoder. Sizes such as --kernel, --group and --features are ignored by mixers that have no use for ' +
    'them.',
  examples: [
    'linnet linearize assets/tiny-llama --mixer augmented --out runs/augmented',
    'linnet linearize assets/tiny-llama --mixer augmented --group 32 --kernel 15 --layers 0-1,3 --out runs/hybrid',
    'linnet linearize assets/tiny-llama --mixer performer --features 128 --conv --out runs/performer',
    'linnet linearize assets/tiny-llama --mixer transnormer --softmax-layers 2 --out runs/transnormer',
    'linnet linearize assets/tiny-llama --mixer linformer --rows 4 --block 32 --out runs/linformer',
    'linnet linearize assets/tiny-llama --mixer local+conv --unmasked --out runs/leaking',
  ],
  arguments: { model: required(path, { placeholder: 'folder', description: 'folder of the model' }) },
  options: {
    mixer: required(choice(mixerPresetNames), {
      placeholder: 'name',
      description: `${mixerPresetNames.join(', ')}; linformer-bidirectional reads the future and cannot decode`,
    }),
    ...mixerOptions,
    layers: optional(indexList, { placeholder: 'list', description: 'layers to change, such as 0-3,5 (default: all)' }),
    softmaxLayers: withDefault(integer({ min: 0, max: 65536 }), 0, {
      placeholder: 'number',
      description:
        'first layers, of those that change, that get softmax inside blocks of G positions instead of the mixer, ' +
        'as TransNormer has it',
    }),
    out: required(path, { placeholder: 'folder', description: 'where the new model goes' }),
    dtype: withDefault(choice(['F32', 'F16', 'BF16']), 'F32', {
      placeholder: 'type',
      description: 'element type of the weights: F32, F16 or BF16',
    }),
    replace: flag('replace the folder if it exists'),
  },
  async run(context, options) {
    const loaded = await loadModel(options.model);
    const mixer = configureMixer({ ...options, mixer: presetFor(options.mixer, loaded.model.kind) });
    context.throwIfStopped('before anything was written');
    const changed = options.layers ?? loaded.model.mixers.map((_, layer) => layer);
    const first = changed.slice(0, options.softmaxLayers);
    const mixed = linearize(loaded.model, loaded.parameters, mixer, changed.slice(options.softmaxLayers));
    const { model, parameters } = linearize(mixed.model, mixed.parameters, blockSoftmax(mixer, options.group), first);
    await saveModel(
      options.out,
      { model, parameters },
      { tokenizerFiles: { from: loaded.path }, dtype: options.dtype, replace: options.replace },
    );
    const counts = countParameters(model);
    const runs = mixerRuns(model.mixers);
    context.print(
      `saved ${options.out}: ${formatCount(counts.total)} parameters, ${formatCount(counts.mixers)} of the mixers`,
    );
    for (const { layers, description } of runs) context.print(`  layers ${layerSpan(layers)}: ${description}`);
    return {
      json: {
        out: options.out,
        family: model.family,
        parameters: counts.total,
        mixerParameters: counts.mixers,
        changedLayers: changed,
        mixers: runs.map(({ layers, description, mixer: config }) => ({ layers, description, config })),
        dtype: options.dtype,
      },
    };
  },
});

/** Linformer's published form is for encoders; by blocks it is for all that read from left to right. */
function presetFor(mixer: string, kind: ModelDescription['kind']): string {
  return mixer === 'linformer' && kind === 'encoder' ? 'linformer-bidirectional' : mixer;
}

/** Softmax inside groups alone, with the convolution of the mixer whose place it takes. */
function blockSoftmax(mixer: MixerConfig, group: number): MixerConfig {
  return parseMixer({ kind: 'linear', group, local: { kernel: 'softmax' }, convolution: convolutionOf(mixer) });
}
