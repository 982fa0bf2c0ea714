/** `linnet linearize`: swaps the mixers of a model and saves the result, ready for fine-tuning. */
import { mixerPresetNames } from '../../attention/mixer.ts';
import { loadModel, saveModel } from '../../checkpoint/load-model.ts';
import { linearize } from '../../models/linearize.ts';
import { formatCount } from '../../report/quantities.ts';
import { defineCommand, flag, optional, required, withDefault } from '../command.ts';
import { configureMixer, mixerOptions } from '../mixer-options.ts';
import { countParameters, layerSpan, mixerRuns } from '../model-summary.ts';
import { choice, indexList, path } from '../option-values.ts';

export const linearizeCommand = defineCommand({
  description:
    'Replaces the attention of some or all layers and saves the model as a new Hugging Face folder, tokenizer ' +
    'included. All weights are kept; new parameters start neutral (α = 0, λ = 1, taps 0). The result predicts badly ' +
    'until it is fine-tuned. Sizes such as --kernel, --group and --features are ignored by mixers that have no use for ' +
    'them.',
  examples: [
    'linnet linearize assets/tiny-llama --mixer augmented --out runs/augmented',
    'linnet linearize assets/tiny-llama --mixer augmented --group 32 --kernel 15 --layers 0-1,3 --out runs/hybrid',
    'linnet linearize assets/tiny-llama --mixer performer --features 128 --conv --out runs/performer',
    'linnet linearize assets/tiny-llama --mixer local+conv --unmasked --out runs/leaking',
  ],
  arguments: { model: required(path, { placeholder: 'folder', description: 'folder of the model' }) },
  options: {
    mixer: required(choice(mixerPresetNames), {
      placeholder: 'name',
      description: `${mixerPresetNames.join(', ')}; linformer reads the future, as published, and cannot decode`,
    }),
    ...mixerOptions,
    layers: optional(indexList, { placeholder: 'list', description: 'layers to change, such as 0-3,5 (default: all)' }),
    out: required(path, { placeholder: 'folder', description: 'where the new model goes' }),
    dtype: withDefault(choice(['F32', 'F16', 'BF16']), 'F32', {
      placeholder: 'type',
      description: 'element type of the weights: F32, F16 or BF16',
    }),
    replace: flag('replace the folder if it exists'),
  },
  async run(context, options) {
    const mixer = configureMixer(options);
    const loaded = await loadModel(options.model);
    context.throwIfStopped('before anything was written');
    const { model, parameters } = linearize(loaded.model, loaded.parameters, mixer, options.layers);
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
        changedLayers: options.layers ?? model.mixers.map((_, layer) => layer),
        mixers: runs.map(({ layers, description, mixer: config }) => ({ layers, description, config })),
        dtype: options.dtype,
      },
    };
  },
});
