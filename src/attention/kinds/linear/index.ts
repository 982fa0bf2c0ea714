/**
 * The paper's grouped linear attention (sections 4.1 and 4.2): a local branch inside groups, a global branch over earlier
 * groups, a masked depthwise convolution, in any combination. Its formula is in `mixer.ts`.
 */
import { z } from 'zod';
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { unitLength } from '../../../graph/ops/normalization.ts';
import { HeadLayout } from '../../head-layout.ts';
import type { CrossForm, MixerKind } from '../../mixer.ts';
import { boundedLength, scaled } from '../../normalization.ts';
import { convolvedPreset, definePreset, groupOption, ownConvolutionOptions } from '../../preset.ts';
import { nodeRows } from '../../step-blocks.ts';
import { textSums } from '../../text-rows.ts';
import {
  branchParameters,
  defaultFade,
  describeBranches,
  fadeSchema,
  type LinearMixer,
  linearSchema,
  localKernels,
  normalizations,
} from './config.ts';
import { linearOfWhole, linearParallel, linearRecurrent } from './forms.ts';
import { linearReference } from './reference.ts';

const linearCross: CrossForm<LinearMixer> = {
  tensors: (_, { keyValueHeads, headWidth, valueWidth = headWidth }) => ({
    sums: [keyValueHeads, headWidth, valueWidth],
  }),
  memory: (_, { k, v, mask }) => ({ sums: textSums(nodeRows(unitLength(k)), nodeRows(v), mask) }),
  read(config, q, { sums }, parameters): Value {
    const heads = new HeadLayout(q, Number(sums.shape[1]));
    const read = matmul(heads.join(unitLength(heads.queries)), sums); // [B,M,R*n,E]
    const normalized = config.normalize === null ? read : boundedLength(read);
    return heads.split(scaled(normalized, parameters.global_factor));
  },
};

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
  .describe('divide by the sum of weights: in the local branch, the global branch, or both together');

const castling = z
  .boolean()
  .optional()
  .describe('rescale the attention part to unit length around ½v, before the convolution');

const fade = fadeSchema
  .optional()
  .describe(
    `factor on the global branch for every closed group in between; 1 is the paper's sum (default: ${defaultFade}; 1 for global alone)`,
  );

const others = { castling, normalize };

/** The field `fade`, omitted if it changes nothing. */
function fadeFrom(fade = 1) {
  return fade === 1 ? undefined : fade;
}

function localFrom({ localKernel: kernel, lambda }: z.infer<z.ZodObject<typeof localOptions>>) {
  return { kernel, scale: lambda === true ? 'learned' : undefined };
}

const localPreset = convolvedPreset(
  'linear',
  { ...groupOption, ...localOptions, ...others },
  ({ localKernel, lambda, ...fields }) => ({ ...fields, local: localFrom({ localKernel, lambda }) }),
);

/** `global` alone has the constant scale 1: a learned α starts at 0, where the output would be 0. */
const globalPreset = convolvedPreset('linear', { ...groupOption, fade, ...others }, ({ fade: given, ...fields }) => ({
  ...fields,
  global: { scale: 'one', fade: fadeFrom(given) },
}));

const localGlobalPreset = convolvedPreset(
  'linear',
  { ...groupOption, ...localOptions, fade, ...others },
  ({ localKernel, lambda, fade: given = defaultFade, ...fields }) => ({
    ...fields,
    local: localFrom({ localKernel, lambda }),
    global: { fade: fadeFrom(given) },
  }),
);

const linearPresets = {
  local: localPreset,
  global: globalPreset,
  'local+global': localGlobalPreset,
  'local+conv': definePreset({ ...groupOption, ...ownConvolutionOptions, ...localOptions, ...others }, (options) =>
    localPreset.make({ ...options, convolution: true }),
  ),
  /** All three branches. */
  augmented: definePreset({ ...groupOption, ...ownConvolutionOptions, ...localOptions, fade, ...others }, (options) =>
    localGlobalPreset.make({ ...options, convolution: true }),
  ),
  /** Aliases of `local`, `global` and `local+global`. */
  'flash-local': localPreset,
  'flash-global': globalPreset,
  flash: localGlobalPreset,
};

export const linearKind = {
  kind: 'linear',
  schema: linearSchema,
  describe: describeBranches,
  parameters: branchParameters,
  hasSurrogateGradient: ({ local }) => local?.kernel === 'yoso',
  reference: linearReference,
  parallel: linearParallel,
  recurrent: linearRecurrent,
  bidirectional: linearOfWhole,
  cross: linearCross,
  // Groups of two texts are unrelated: only the global branch applies.
  betweenTexts: ({ group }) => ({ kind: 'linear', group, global: { scale: 'one' } }),
  canCross: ({ local, castling }) => local === null && !castling,
  without: {
    memory: (config) => config.global && { ...config, global: null, normalize: kept(config, 'local') },
    window: (config) => config.local && { ...config, local: null, normalize: kept(config, 'global', 'together') },
    convolution: (config) => config.convolution && { ...config, convolution: null, castling: false },
  },
  // If branches are normalized together, or turned by castling, the output is not an affine function of their factors.
  calibration: ({ normalize, castling, local, global }) => ({
    affine: [
      ...(local?.scale === 'learned' && normalize !== 'together' && !castling ? ['local_factor'] : []),
      ...(global?.scale === 'learned' && normalize !== 'together' && !castling ? ['global_factor'] : []),
    ],
  }),
  presets: linearPresets,
} satisfies MixerKind<LinearMixer>;

/** A mixer's normalization, if it is one of these. */
function kept({ normalize }: LinearMixer, ...ways: readonly LinearMixer['normalize'][]): LinearMixer['normalize'] {
  return ways.includes(normalize) ? normalize : null;
}
