/**
 * Linformer in blocks, which is causal: a block of G positions is projected to r rows of keys and values once it has closed,
 * and the open block is attended exactly. The formula is in `parallel.ts`, its form for trees in `step.ts`.
 */
import { filterParameters, reachOf, withConvolution } from '../../convolution-config.ts';
import type { MixerKind } from '../../mixer.ts';
import { convolutionFrom, convolutionOptions, definePreset } from '../../preset.ts';
import { projectionParameters } from '../linformer/config.ts';
import { linformerBlockOption, rowsOption } from '../linformer/options.ts';
import { membershipInputs } from './block-membership.ts';
import { type BlockLinformerMixer, blockLinformerSchema } from './config.ts';
import { blockLinformerOfWhole, blockLinformerParallel } from './parallel.ts';
import { blockLinformerReference } from './reference.ts';
import { blockLinformerFold, blockLinformerState, blockLinformerStep } from './step.ts';

export const blockLinformerKind = {
  kind: 'block-linformer',
  schema: blockLinformerSchema,
  examples: {
    'linformer by blocks': { kind: 'block-linformer', rows: 3, block: 8 },
    'linformer by blocks, with a convolution': {
      ...{ kind: 'block-linformer', rows: 2, block: 5, convolution: { kernel: 9 } },
    },
  },
  describe: ({ rows, block, convolution }) =>
    withConvolution(`linformer ${rows} rows per block of ${block}`, convolution),
  parameters: ({ rows, block, convolution }, dims) => [
    ...projectionParameters(rows, block),
    ...filterParameters(convolution, dims),
  ],
  horizon: ({ block, convolution }) => ({ group: block, reach: reachOf(convolution) }),
  convolution: ({ convolution }) => convolution,
  reference: blockLinformerReference,
  parallel: blockLinformerParallel,
  recurrent: {
    state: blockLinformerState,
    step: blockLinformerStep,
    fold: blockLinformerFold,
    inputs: membershipInputs,
  },
  bidirectional: blockLinformerOfWhole,
  presets: {
    linformer: {
      ...definePreset({ ...rowsOption, ...linformerBlockOption, ...convolutionOptions }, (options) => ({
        ...{ kind: 'block-linformer', rows: options.rows, block: options.block, convolution: convolutionFrom(options) },
      })),
      wholeText: 'linformer-bidirectional',
    },
  },
} satisfies MixerKind<BlockLinformerMixer>;
