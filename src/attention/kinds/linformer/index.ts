/** Linformer as published, for whole texts; `block-linformer` is its causal form. */
import { mul } from '../../../graph/ops/elementwise.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import { filterParameters, reachOf, withConvolution } from '../../convolution-config.ts';
import { addConvolution } from '../../convolution.ts';
import { groupingOf } from '../../grouping.ts';
import type { MixerKind } from '../../mixer.ts';
import { convolvedPreset, groupSchema } from '../../preset.ts';
import {
  type BlockLinformerMixer,
  blockLinformerSchema,
  type LinformerMixer,
  linformerSchema,
  projectionParameters,
} from './config.ts';
import {
  blockLinformerOfWhole,
  blockLinformerParallel,
  blockLinformerRecurrent,
  linformerCross,
  linformerOfWhole,
} from './forms.ts';
import { blockLinformerReference, linformerReference } from './reference.ts';

const rowsOption = {
  rows: linformerSchema.shape.rows
    .unwrap()
    .optional()
    .describe('rows that linformer projects to: per block (default: 8), or in total if bidirectional (default: 64)'),
};

const lengthOption = {
  length: linformerSchema.shape.length
    .unwrap()
    .optional()
    .describe('longest sequence of linformer-bidirectional (default: 1024)'),
};

const linformerBlockOption = {
  block: groupSchema.optional().describe('positions per block of linformer (default: 64)'),
};

export const linformerKind = {
  kind: 'linformer',
  schema: linformerSchema,
  describe: ({ rows, length, convolution }) =>
    withConvolution(`bidirectional linformer ${rows} of ${length}`, convolution),
  parameters: ({ rows, length, convolution }, dims) => [
    ...projectionParameters(rows, length),
    ...filterParameters(convolution, dims),
  ],
  readsFuture: true,
  maximumLength: ({ length }) => length,
  reference: linformerReference,
  parallel(config, input) {
    const grouping = groupingOf(input, Number.POSITIVE_INFINITY);
    const mixed = linformerOfWhole(config, input);
    return addConvolution(config.convolution, mixed, grouping, input.v, input.parameters);
  },
  bidirectional(config, input) {
    const [batch, length] = input.mask.shape;
    return linformerOfWhole(config, { ...input, k: mul(input.k, reshape(input.mask, [batch, length, 1, 1])) });
  },
  cross: linformerCross,
  presets: {
    'linformer-bidirectional': convolvedPreset('linformer', { ...rowsOption, ...lengthOption }),
  },
} satisfies MixerKind<LinformerMixer>;

export const blockLinformerKind = {
  kind: 'block-linformer',
  schema: blockLinformerSchema,
  describe: ({ rows, block, convolution }) =>
    withConvolution(`linformer ${rows} rows per block of ${block}`, convolution),
  parameters: ({ rows, block, convolution }, dims) => [
    ...projectionParameters(rows, block),
    ...filterParameters(convolution, dims),
  ],
  horizon: ({ block, convolution }) => ({ group: block, reach: reachOf(convolution) }),
  reference: blockLinformerReference,
  parallel: blockLinformerParallel,
  recurrent: blockLinformerRecurrent,
  bidirectional: blockLinformerOfWhole,
  presets: {
    linformer: {
      ...convolvedPreset('block-linformer', { ...rowsOption, ...linformerBlockOption }),
      wholeText: 'linformer-bidirectional',
    },
  },
} satisfies MixerKind<BlockLinformerMixer>;
