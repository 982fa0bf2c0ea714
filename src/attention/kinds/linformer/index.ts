/** Linformer as published, for whole texts; `block-linformer` is its causal form. */
import { reshape } from '../../../graph/ops/layout.ts';
import { mul } from '../../../graph/ops/elementwise.ts';
import { filterParameters, reachOf, withConvolution } from '../../convolution-config.ts';
import { addConvolution } from '../../convolution.ts';
import { groupingOf } from '../../grouping.ts';
import type { MixerKind } from '../../mixer.ts';
import { convolutionFrom, convolutionOptions, definePreset } from '../../preset.ts';
import { lengthOption, rowsOption } from './options.ts';
import { type LinformerMixer, linformerSchema, projectionParameters } from './config.ts';
import { linformerCross, linformerOfWhole } from './parallel.ts';
import { linformerReference } from './reference.ts';

export const linformerKind = {
  kind: 'linformer',
  schema: linformerSchema,
  examples: {
    linformer: { kind: 'linformer', rows: 3, length: 128 },
    'linformer with a convolution': { kind: 'linformer', rows: 3, length: 128, convolution: { kernel: 9 } },
  },
  describe: ({ rows, length, convolution }) =>
    withConvolution(`bidirectional linformer ${rows} of ${length}`, convolution),
  parameters: ({ rows, length, convolution }, dims) => [
    ...projectionParameters(rows, length),
    ...filterParameters(convolution, dims),
  ],
  horizon: ({ convolution }) => ({ group: Number.POSITIVE_INFINITY, reach: reachOf(convolution) }),
  convolution: ({ convolution }) => convolution,
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
    'linformer-bidirectional': definePreset({ ...rowsOption, ...lengthOption, ...convolutionOptions }, (options) => ({
      ...{ kind: 'linformer', rows: options.rows, length: options.length, convolution: convolutionFrom(options) },
    })),
  },
} satisfies MixerKind<LinformerMixer>;
