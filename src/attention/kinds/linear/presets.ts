/** The mixers that the paper compares. */
import { z } from 'zod';
import { convolutionFrom, convolutionOptions, definePreset, groupOption, ownConvolutionOptions } from '../../preset.ts';
import { localKernels, normalizations } from './config.ts';

const localOptions = {
  localKernel: z
    .enum(localKernels)
    .optional()
    .describe(`kernel of the local branch: ${localKernels.join(', ')} (default: relu2)`),
  lambda: z.boolean().optional().describe('multiply the local branch by a learned λ'),
};

const normalize = z
  .enum(normalizations)
  .optional()
  .describe('weights of the local branch by their sum, the global branch, or local and global together');

const castling = z
  .boolean()
  .optional()
  .describe('rescale the attention part to unit length around ½v, before the convolution');

const localAlone = { ...groupOption, ...convolutionOptions, ...localOptions, castling, normalize };
const globalAlone = { ...groupOption, ...convolutionOptions, castling, normalize };
const localGlobal = { ...groupOption, ...convolutionOptions, ...localOptions, castling, normalize };

function local({ localKernel: kernel, lambda }: { localKernel?: (typeof localKernels)[number]; lambda?: boolean }) {
  return { kernel, scale: lambda === true ? 'learned' : undefined };
}

const localPreset = definePreset(localAlone, (options) => ({
  kind: 'linear',
  ...{ group: options.group, local: local(options), convolution: convolutionFrom(options) },
  ...{ castling: options.castling, normalize: options.normalize },
}));

/** `global` alone has the constant scale 1: a learned α starts at 0, where the output would be 0. */
const globalPreset = definePreset(globalAlone, (options) => ({
  kind: 'linear',
  ...{ group: options.group, global: { scale: 'one' }, convolution: convolutionFrom(options) },
  ...{ castling: options.castling, normalize: options.normalize },
}));

const localGlobalPreset = definePreset(localGlobal, (options) => ({
  kind: 'linear',
  ...{ group: options.group, local: local(options), global: {}, convolution: convolutionFrom(options) },
  ...{ castling: options.castling, normalize: options.normalize },
}));

export const linearPresets = {
  local: localPreset,
  global: globalPreset,
  'local+global': localGlobalPreset,
  'local+conv': definePreset(
    { ...groupOption, ...ownConvolutionOptions, ...localOptions, castling, normalize },
    (options) => localPreset.make({ ...options, convolution: true }),
  ),
  /** All three branches. */
  augmented: definePreset(
    { ...groupOption, ...ownConvolutionOptions, ...localOptions, castling, normalize },
    (options) => localGlobalPreset.make({ ...options, convolution: true }),
  ),
  /** Other names of `local`, `global` and `local+global`. */
  'flash-local': localPreset,
  'flash-global': globalPreset,
  flash: localGlobalPreset,
};
