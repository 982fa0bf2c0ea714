/**
 * Window attention: softmax over the current group of G positions, the W − 1 groups before it and the text's first s
 * positions (sinks), and optionally a linear memory of everything older that shares their normalizer. A model's own sliding
 * window of w positions is G = 1, W = w. The formula is in `reference.ts`.
 */
import { z } from 'zod';
import { reachOf, withConvolution } from '../../convolution-config.ts';
import type { MixerKind } from '../../mixer.ts';
import { convolvedPreset, decayOption, groupOption, groupSchema } from '../../preset.ts';
import { sinkLogitName } from '../../sink-logits.ts';
import { windowRecurrent } from './step.ts';
import {
  defaultSinks,
  defaultWindow,
  type WindowMixer,
  windowParameters,
  windowSchema,
  decayCandidates,
  memoryDecayName,
  memoryNames,
  memoryScoreName,
} from './config.ts';
import { describeFeatureMap } from '../features/maps.ts';
import { windowOfWhole, windowParallel } from './parallel.ts';
import { windowReference } from './reference.ts';

const windowOption = {
  window: windowSchema.shape.window
    .unwrap()
    .optional()
    .describe(`W, groups read row by row, including the current one (default: ${defaultWindow})`),
};
const sinksOption = {
  sinks: windowSchema.shape.sinks
    .unwrap()
    .optional()
    .describe(`s, number of first positions that are always read (default: ${defaultSinks})`),
};
const sinkLogitOption = {
  sinkLogit: z.boolean().optional().describe('a learned logit per head in the denominator of softmax, as in gpt-oss'),
};
const memoryOptions = {
  memory: z
    .enum(memoryNames)
    .optional()
    .describe('memory of positions that have left the window: the feature map of its sums (default: learned)'),
  ...decayOption,
};

/** A configuration's fields; the logit is present or absent. */
function rowsFrom({ sinkLogit, ...fields }: { readonly sinkLogit?: boolean }): object {
  return sinkLogit === true ? { ...fields, sinkLogit } : fields;
}

export const windowKind = {
  kind: 'window',
  schema: windowSchema,
  describe({ group, window, sinks, memory, convolution, sinkLogit }) {
    const decay = memory === null || memory.decay === 'none' ? '' : ` with ${memory.decay} decay`;
    const parts = [
      `window of ${group === 1 ? `${window} positions` : `${window} × ${group}`}`,
      sinks === 0 ? '' : `${sinks} sinks`,
      sinkLogit === undefined ? '' : 'sink logit',
      memory === null ? '' : `memory by ${describeFeatureMap(memory.map)}${decay}`,
    ];
    return withConvolution(parts.filter((part) => part !== '').join(' + '), convolution);
  },
  parameters: windowParameters,
  horizon: ({ group, window, sinks, convolution }) => ({ group, window, sinks, reach: reachOf(convolution) }),
  reference: windowReference,
  parallel: windowParallel,
  recurrent: windowRecurrent,
  bidirectional: windowOfWhole,
  // Positions of different texts have no distance: attention between them stays softmax.
  betweenTexts: () => ({ kind: 'softmax' }),
  without: {
    memory: (config) => config.memory && { ...config, memory: null },
    // The memory answers for everything but the position itself.
    window: (config) => config.memory && { ...config, group: 1, window: 1 },
    sinks: (config) => config.sinks > 0 && { ...config, sinks: 0 },
  },
  calibration: ({ group, memory, sinkLogit }, trainedLength) => ({
    searched: [
      ...(memory?.decay === 'learned'
        ? [{ name: memoryDecayName, candidates: decayCandidates(group, trainedLength) }]
        : []),
      ...(memory === null ? [] : [{ name: memoryScoreName, candidates: [-9, -7, -6, -5, -4, -3, -2, -1, 0] }]),
      ...(sinkLogit === undefined ? [] : [{ name: sinkLogitName, candidates: [-20, -6, -4, -2, -1, 0, 1, 2, 4] }]),
    ],
  }),
  presets: {
    window: convolvedPreset(
      'window',
      { ...groupOption, ...windowOption, ...sinksOption, ...sinkLogitOption, ...memoryOptions },
      ({ memory: map = 'learned', decay, ...options }) => ({
        ...rowsFrom(options),
        memory: map === 'none' ? null : { map: { name: map === 'learned' ? 'balanced' : map }, decay },
      }),
    ),
    'window+sinks': convolvedPreset(
      'window',
      { ...groupOption, ...windowOption, ...sinksOption, ...sinkLogitOption },
      rowsFrom,
    ),
    'sliding-window': convolvedPreset(
      'window',
      { group: groupSchema.optional(), ...windowOption, ...sinkLogitOption },
      ({ group = 1, window = 64, ...options }) => ({ ...rowsFrom(options), group, window, sinks: 0 }),
    ),
  },
} satisfies MixerKind<WindowMixer>;
