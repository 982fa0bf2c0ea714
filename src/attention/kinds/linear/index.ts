/**
 * The paper's grouped linear attention (sections 4.1 and 4.2): a local branch inside groups, a global branch over earlier
 * groups, a masked depthwise convolution, in any combination. Its formula is in `mixer.ts`.
 */
import { filterName, reachOf } from '../../convolution-config.ts';
import type { MixerKind } from '../../mixer.ts';
import { branchParameters, describeBranches, type LinearMixer, linearSchema } from './config.ts';
import { linearCross } from './cross.ts';
import { linearExamples } from './examples.ts';
import { linearOfWhole, linearParallel } from './parallel.ts';
import { linearPresets } from './presets.ts';
import { linearReference } from './reference.ts';
import { linearFold, linearState, linearStep } from './step.ts';

export const linearKind = {
  kind: 'linear',
  schema: linearSchema,
  examples: linearExamples,
  describe: (config) => describeBranches(config),
  parameters: (config, dims) => branchParameters(config, dims),
  horizon: ({ group, convolution }) => ({ group, reach: reachOf(convolution) }),
  convolution: ({ convolution }) => convolution,
  hasSurrogateGradient: ({ local }) => local?.kernel === 'yoso',
  reference: (config, positions) => linearReference(config, positions),
  parallel: (config, input) => linearParallel(config, input),
  recurrent: {
    state: (config, dims) => linearState(config, dims),
    step: (config, input) => linearStep(config, input),
    fold: linearFold,
  },
  bidirectional: (config, input) => linearOfWhole(config, input),
  cross: linearCross,
  // Groups of two texts have nothing to do with each other: the global branch alone.
  betweenTexts: ({ group }) => ({ kind: 'linear', group, global: { scale: 'one' } }),
  canCross: ({ local, castling }) => local === null && !castling,
  without: {
    memory: (config) => remaining({ ...config, global: null, normalize: kept(config, 'local') }, config.global),
    window: (config) =>
      remaining({ ...config, local: null, normalize: kept(config, 'global', 'together') }, config.local),
    convolution: (config) => remaining({ ...config, convolution: null, castling: false }, config.convolution),
  },
  // Where branches are normalized together, or turned by castling, the output is not an affine function of their factors.
  calibration: ({ normalize, castling, local, global, convolution }) => ({
    affine: [
      ...(local?.scale === 'learned' && normalize !== 'together' && !castling ? ['local_factor'] : []),
      ...(global?.scale === 'learned' && normalize !== 'together' && !castling ? ['global_factor'] : []),
      ...(convolution === null ? [] : [filterName]),
    ],
    searched: [],
  }),
  presets: linearPresets,
} satisfies MixerKind<LinearMixer>;

/** How a mixer is normalized, where that is one of these ways. */
function kept({ normalize }: LinearMixer, ...ways: readonly LinearMixer['normalize'][]): LinearMixer['normalize'] {
  return ways.includes(normalize) ? normalize : null;
}

/** The configuration without a branch; undefined if it lacks that branch or has no other. */
function remaining(config: LinearMixer, branch: object | null): LinearMixer | undefined {
  const { local, global, convolution } = config;
  return branch === null || (local ?? global ?? convolution) === null ? undefined : config;
}
