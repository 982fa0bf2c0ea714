/** Options that configure a mixer, of the commands that take one. */
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
import { flag, optional, withDefault } from '../framework/command.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { choice, integer, seed32 } from '../framework/option-values.ts';

/** The option `--mixer` of commands that make a model of their own. */
export const mixerNameOption = withDefault(choice(mixerPresetNames), 'augmented', {
  placeholder: 'name',
  description: mixerPresetNames.join(', '),
});

/** Sizes and refinements; the name of the preset is the command's own option. */
export const mixerOptions = {
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
    description: 'rows that linformer projects to: per block (default: 8), or in all if bidirectional (default: 64)',
  }),
  block: optional(integer({ min: 1, max: 65536 }), {
    placeholder: 'positions',
    description: 'positions per block of linformer (default: 64)',
  }),
  length: optional(integer({ min: 128, max: 1048576 }), {
    placeholder: 'positions',
    description: 'longest sequence of linformer-bidirectional (default: 1024)',
  }),
  hashes: optional(integer({ min: 1, max: 1024 }), {
    placeholder: 'number',
    description: 'hashes of yoso-hashed (default: 32)',
  }),
  bits: optional(integer({ min: 1, max: 16 }), {
    placeholder: 'number',
    description: 'bits per hash of yoso and yoso-hashed (default: 8)',
  }),
  seed: optional(seed32, {
    placeholder: 'number',
    description: 'of random features and hashes; another seed is a redraw (default: 0)',
  }),
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
};

/** The values of `mixerOptions`, and the preset. */
export interface MixerOptionValues extends Omit<PresetOptions, 'convolution'> {
  readonly mixer: string;
  readonly kernel: number;
  readonly conv: boolean;
  readonly localKernel?: LocalKernel;
  readonly lambda: boolean;
  readonly castling: boolean;
  readonly normalize?: 'global' | 'together';
  readonly unmasked: boolean;
}

/**
 * A preset with its refinements. A refinement of a branch that the preset lacks is a mistake, not to be ignored.
 * @throws UsageError naming the option
 */
export function configureMixer(options: MixerOptionValues): MixerConfig {
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
