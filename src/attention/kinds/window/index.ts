/**
 * Window attention: softmax over the own group of G positions, W − 1 groups before it and the first s positions of the text
 * (sinks), and, where it is asked for, a linear memory of everything older that shares their normalizer. A model's own
 * sliding window of w positions is G = 1, W = w. The formula is in `reference.ts`.
 */
import { z } from 'zod';
import { filterName } from '../../convolution-config.ts';
import type { MixerKind } from '../../mixer.ts';
import {
  convolutionFrom,
  convolutionOptions,
  decayOption,
  definePreset,
  groupOption,
  groupSchema,
} from '../../preset.ts';
import { windowFold, windowInputs, windowState, windowStep } from './step.ts';
import {
  defaultSinks,
  defaultWindow,
  describeWindow,
  windowHorizon,
  type WindowMixer,
  windowParameters,
  windowSchema,
  decayCandidates,
  memoryDecayName,
  memoryScoreName,
} from './config.ts';
import { windowOfWhole, windowParallel } from './parallel.ts';
import { windowReference } from './reference.ts';

const convolution = { kernel: 9 };
const memory = {};

const windowOption = {
  window: windowSchema.shape.window
    .unwrap()
    .optional()
    .describe(`W, groups that are read row by row, the own one included (default: ${defaultWindow})`),
};
const sinksOption = {
  sinks: windowSchema.shape.sinks
    .unwrap()
    .optional()
    .describe(`s, the first positions, which are always read (default: ${defaultSinks})`),
};
const memoryOptions = {
  memory: z
    .enum(['none', 'learned', 'hedgehog', 'elu', 'relu'])
    .optional()
    .describe('what remembers what has left the window: sums through a feature map (default: learned)'),
  ...decayOption,
};

export const windowKind = {
  kind: 'window',
  schema: windowSchema,
  examples: {
    'window, memory': { kind: 'window', group: 4, window: 2, sinks: 3, memory },
    'window, memory and convolution': { kind: 'window', group: 3, window: 2, sinks: 2, memory, convolution },
    'window of 3 groups, decaying memory': {
      ...{ kind: 'window', group: 2, window: 3, sinks: 1, memory: { decay: 'learned' }, convolution: { kernel: 31 } },
    },
    'own group, memory of elu': { kind: 'window', group: 8, window: 1, sinks: 0, memory: { map: { name: 'elu' } } },
    'memory of elu, fixed decay': {
      ...{ kind: 'window', group: 3, window: 1, sinks: 2, memory: { map: { name: 'elu' }, decay: 'fixed' } },
    },
    'window, memory of hedgehog': { kind: 'window', group: 5, window: 2, memory: { map: { name: 'hedgehog' } } },
    'window and sinks': { kind: 'window', group: 4, window: 2, sinks: 5, convolution },
    'sliding window': { kind: 'window', group: 1, window: 6, sinks: 0 },
  },
  describe: describeWindow,
  parameters: windowParameters,
  horizon: windowHorizon,
  reference: windowReference,
  parallel: windowParallel,
  recurrent: { state: windowState, step: windowStep, fold: windowFold, inputs: windowInputs },
  bidirectional: windowOfWhole,
  // The positions of two texts have no distance: between them attention stays softmax.
  betweenTexts: () => ({ kind: 'softmax' }),
  without: {
    memory: (config) => (config.memory === null ? undefined : { ...config, memory: null }),
    // Everything but the position itself is read from the memory.
    window: (config) => (config.memory === null ? undefined : { ...config, group: 1, window: 1 }),
    sinks: (config) => (config.sinks === 0 ? undefined : { ...config, sinks: 0 }),
    convolution: (config) => (config.convolution === null ? undefined : { ...config, convolution: null }),
  },
  calibration: ({ group, memory, convolution }, trainedLength) => ({
    affine: convolution === null ? [] : [filterName],
    searched: [
      ...(memory?.decay === 'learned'
        ? [{ name: memoryDecayName, candidates: decayCandidates(group, trainedLength) }]
        : []),
      ...(memory === null ? [] : [{ name: memoryScoreName, candidates: [-9, -7, -6, -5, -4, -3, -2, -1, 0] }]),
    ],
  }),
  presets: {
    window: definePreset(
      { ...groupOption, ...windowOption, ...sinksOption, ...memoryOptions, ...convolutionOptions },
      ({ memory: map = 'learned', decay, ...options }) => ({
        ...{ kind: 'window', group: options.group, window: options.window, sinks: options.sinks },
        memory: map === 'none' ? null : { map: { name: map === 'learned' ? 'balanced' : map }, decay },
        convolution: convolutionFrom(options),
      }),
    ),
    'window+sinks': definePreset(
      { ...groupOption, ...windowOption, ...sinksOption, ...convolutionOptions },
      (options) => ({
        ...{ kind: 'window', group: options.group, window: options.window, sinks: options.sinks },
        convolution: convolutionFrom(options),
      }),
    ),
    'sliding-window': definePreset(
      { group: groupSchema.optional(), ...windowOption, ...convolutionOptions },
      ({ group = 1, window = 64, ...options }) => ({
        ...{ kind: 'window', group, window, sinks: 0, convolution: convolutionFrom(options) },
      }),
    ),
  },
} satisfies MixerKind<WindowMixer>;
