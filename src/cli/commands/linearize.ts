/** `linnet linearize`: swaps the mixers of a model and saves the result, ready for fine-tuning. */
import {
  convolutionOf,
  defaultGroup,
  defaultKernel,
  type LocalKernel,
  localKernels,
  type MixerConfig,
  mixerPreset,
  mixerPresetNames,
  type PresetOptions,
  parseMixer,
} from '../../attention/mixer.ts';
import { loadModel, saveModel } from '../../checkpoint/load-model.ts';
import { linearize } from '../../models/linearize.ts';
import { formatCount } from '../../report/quantities.ts';
import { defineCommand, flag, optional, required, withDefault } from '../command.ts';
import { UsageError } from '../exit-codes.ts';
import { countParameters, layerSpan, mixerRuns } from '../model-summary.ts';
import { choice, indexList, integer, path } from '../option-values.ts';

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
    group: withDefault(integer({ min: 1, max: 65536 }), defaultGroup, {
      placeholder: 'positions',
      description: 'G, positions per group',
    }),
    kernel: withDefault(integer({ min: 1, max: 65535 }), defaultKernel, {
      placeholder: 'taps',
      description: 'K, length of the convolution, odd; (K−1)/2 positions back are read',
    }),
    conv: flag('add the masked convolution to a mixer that has none'),
    features: optional(integer({ min: 1, max: 65536 }), {
      placeholder: 'number',
      description: 'random features of performer, frequencies of rfa (default: 64)',
    }),
    rows: optional(integer({ min: 1, max: 65536 }), {
      placeholder: 'number',
      description: 'rows that linformer projects to (default: 64)',
    }),
    length: optional(integer({ min: 128, max: 1048576 }), {
      placeholder: 'positions',
      description: 'longest sequence of linformer (default: 1024)',
    }),
    hashes: optional(integer({ min: 1, max: 1024 }), {
      placeholder: 'number',
      description: 'hashes of yoso-hashed (default: 32)',
    }),
    bits: optional(integer({ min: 1, max: 16 }), {
      placeholder: 'number',
      description: 'bits per hash of yoso and yoso-hashed (default: 8)',
    }),
    seed: optional(integer({ min: 0, max: 0xffffffff }), {
      placeholder: 'number',
      description: 'of random features and hashes; another seed is a redraw (default: 0)',
    }),
    layers: optional(indexList, { placeholder: 'list', description: 'layers to change, such as 0-3,5 (default: all)' }),
    localKernel: optional(choice(localKernels), {
      placeholder: 'name',
      description: `kernel of the local branch: ${localKernels.join(', ')} (default: relu2)`,
    }),
    lambda: flag('multiply the local branch by a learned λ'),
    castling: flag('rescale the attention part to unit length around ½v, before the convolution'),
    normalize: optional(choice(['global', 'together']), {
      placeholder: 'branches',
      description: 'normalize the global branch, or local and global together',
    }),
    unmasked: flag('let the convolution read the future, to demonstrate the leak; such a model cannot decode'),
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

interface MixerOptions extends Omit<PresetOptions, 'convolution'> {
  readonly mixer: string;
  readonly kernel: number;
  readonly conv: boolean;
  readonly localKernel?: LocalKernel;
  readonly lambda: boolean;
  readonly castling: boolean;
  readonly normalize?: 'global' | 'together';
  readonly unmasked: boolean;
}

/** A preset with its refinements. A refinement of a branch that the preset lacks is a mistake, not to be ignored. */
function configureMixer(options: MixerOptions): MixerConfig {
  if (options.kernel % 2 === 0) {
    throw new UsageError(`--kernel is ${options.kernel}; expected an odd number, so that there is a centre tap`);
  }
  if (options.conv && options.mixer === 'softmax') {
    throw new UsageError('--conv adds a convolution to a linear mixer; --mixer softmax has none');
  }
  const preset = mixerPreset(options.mixer, { ...options, convolution: options.conv });
  const local = preset.kind === 'linear' ? preset.local : null;
  const global = preset.kind === 'linear' ? preset.global : null;
  const convolution = convolutionOf(preset);
  const branches = { local: local !== null, global: global !== null, convolution: convolution !== null };
  const needs: readonly [given: boolean, name: string, branch: keyof typeof branches][] = [
    [options.localKernel !== undefined, '--local-kernel', 'local'],
    [options.lambda, '--lambda', 'local'],
    [options.castling, '--castling', 'convolution'],
    [options.normalize === 'global', '--normalize global', 'global'],
    [options.unmasked, '--unmasked', 'convolution'],
  ];
  for (const [given, name, branch] of needs) {
    if (!given || branches[branch]) continue;
    throw new UsageError(`${name} refines the ${branch} branch, which --mixer ${options.mixer} does not have`);
  }
  if (options.castling && preset.kind !== 'linear') {
    throw new UsageError(`--castling rescales local and global branches, which --mixer ${options.mixer} does not have`);
  }
  if (options.normalize === 'together' && !branches.local && !branches.global) {
    throw new UsageError(`--normalize together needs a local or global branch, --mixer ${options.mixer} has neither`);
  }
  return parseMixer({
    ...preset,
    ...(local !== null && {
      local: { kernel: options.localKernel ?? local.kernel, scale: options.lambda ? 'learned' : local.scale },
    }),
    ...(convolution !== null && { convolution: { ...convolution, masked: !options.unmasked } }),
    ...(options.castling && { castling: true }),
    ...(options.normalize !== undefined && { normalize: options.normalize }),
  });
}
