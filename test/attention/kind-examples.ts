/**
 * Examples of the kinds of mixers: small configurations by name, that together use every branch and setting of a kind. All tests of
 * forms run them. G is at most 8.
 */
import type { MixerInput } from '../../src/attention/kinds/index.ts';

const convolution = { kernel: 9 };
/** Of delta nets. */
const sizes = { heads: 2, keyHeads: 1, keyWidth: 3, valueWidth: 2 };
const local = {};
const global = {};
const memory = {};
const augmented = { kind: 'linear', group: 8, local, global, convolution } as const;

/** By the name of the kind. */
export const kindExamples: Readonly<Record<string, Readonly<Record<string, MixerInput>>>> = {
  softmax: { softmax: { kind: 'softmax' }, 'softmax, sink logit': { kind: 'softmax', sinkLogit: true } },
  window: {
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
    'window and memory, sink logit': { kind: 'window', group: 3, window: 2, sinks: 1, memory, sinkLogit: true },
    'sliding window, sink logit': { kind: 'window', group: 1, window: 6, sinks: 0, sinkLogit: true },
    'sliding window': { kind: 'window', group: 1, window: 6, sinks: 0 },
  },
  linear: {
    local: { kind: 'linear', group: 8, local },
    'softmax local': { kind: 'linear', group: 8, local: { kernel: 'softmax' } },
    global: { kind: 'linear', group: 8, global: { scale: 'one' } },
    'local + global': { kind: 'linear', group: 8, local, global },
    'local + convolution': { kind: 'linear', group: 8, local, convolution },
    'global + convolution': { kind: 'linear', group: 8, global: { scale: 'one' }, convolution },
    'convolution alone': { kind: 'linear', group: 8, convolution },
    augmented,
    'augmented, long kernel': { kind: 'linear', group: 8, local, global, convolution: { kernel: 63 } },
    'augmented, softmax local kernel': { kind: 'linear', group: 8, local: { kernel: 'softmax' }, global, convolution },
    'augmented with λ': { kind: 'linear', group: 8, local: { scale: 'learned' }, global, convolution },
    'augmented, NORM_GLOBAL': { kind: 'linear', group: 8, local, global, convolution, normalize: 'global' },
    'augmented, NORM_TOGETHER': { kind: 'linear', group: 8, local, global, convolution, normalize: 'together' },
    'augmented, local branch normalized': { kind: 'linear', group: 8, local, global, convolution, normalize: 'local' },
    'augmented, relu² of raw scores, normalized': {
      ...{ kind: 'linear', group: 8, local: { kernel: 'relu2-raw' }, global, convolution, normalize: 'local' },
    },
    'local yoso kernel, normalized': {
      kind: 'linear',
      group: 3,
      local: { kernel: 'yoso', bits: 4 },
      normalize: 'local',
    },
    castling: { kind: 'linear', group: 8, local, global, convolution, castling: true },
    'castling, normalized': {
      ...{ kind: 'linear', group: 3, local: { scale: 'learned' }, global, convolution: { kernel: 3 } },
      ...{ castling: true, normalize: 'together' },
    },
    'local yoso kernel': { kind: 'linear', group: 8, local: { kernel: 'yoso', bits: 4 }, global, convolution },
    'unmasked convolution': { kind: 'linear', group: 8, local, global, convolution: { kernel: 9, masked: false } },
    ungrouped: { kind: 'linear', group: 1, local, global },
    'global, fading': { kind: 'linear', group: 3, global: { scale: 'one', fade: 0.7 } },
    'augmented, global branch fading': { ...augmented, group: 3, global: { fade: 0.5 } },
    'castling, global branch fading': { ...augmented, global: { fade: 0.5 }, castling: true },
    'groups of 3': { kind: 'linear', group: 3, local, global, convolution: { kernel: 5 } },
  },
  features: {
    relu: { kind: 'features', group: 8, map: { name: 'relu' } },
    'relu with a convolution': { kind: 'features', group: 8, map: { name: 'relu' }, convolution },
    transnormer: { kind: 'features', group: 8, map: { name: 'elu' }, output: 'rms' },
    'transnormer, groups of 5': { kind: 'features', group: 5, map: { name: 'elu' }, output: 'rms', convolution },
    performer: { kind: 'features', group: 8, map: { name: 'performer', features: 10, seed: 5 } },
    rfa: { kind: 'features', group: 8, map: { name: 'rfa', features: 16, seed: 5 } },
    hedgehog: { kind: 'features', group: 8, map: { name: 'hedgehog' } },
    balanced: { kind: 'features', group: 8, map: { name: 'balanced' } },
    'yoso, hashed': {
      kind: 'features',
      group: 8,
      map: { name: 'hashes', hashes: 4, bits: 3, seed: 5 },
      output: 'unit',
    },
  },
  'block-linformer': {
    'linformer by blocks': { kind: 'block-linformer', rows: 3, block: 8 },
    'linformer by blocks, with a convolution': {
      ...{ kind: 'block-linformer', rows: 2, block: 5, convolution: { kernel: 9 } },
    },
  },
  linformer: {
    linformer: { kind: 'linformer', rows: 3, length: 128 },
    'linformer with a convolution': { kind: 'linformer', rows: 3, length: 128, convolution: { kernel: 9 } },
  },
  yoso: {
    yoso: { kind: 'yoso', bits: 3 },
    'yoso with a convolution': { kind: 'yoso', convolution: { kernel: 9 } },
  },
  gau: {
    'gau, all branches': { kind: 'gau', group: 8, convolution: { kernel: 9 } },
    'gau, relu² local': { kind: 'gau', group: 8, local: { kernel: 'relu2' }, global: false },
    'gau, global': { kind: 'gau', group: 8, local: null },
    'gau, softmax in one group': { kind: 'gau', group: null, local: { kernel: 'softmax', divisor: 4 }, global: false },
    'gau, castling, groups of 3': { kind: 'gau', group: 3, convolution: { kernel: 5 }, castling: true },
    'gau, reach beyond the group': { kind: 'gau', group: 5, convolution: { kernel: 31 } },
  },
  mamba2: {
    'Mamba-2': { kind: 'mamba2', heads: 4, headWidth: 3, state: 5, group: 2 },
    'Mamba-2 of two groups': {
      ...{ kind: 'mamba2', heads: 6, headWidth: 2, state: 3, groups: 2, kernel: 3, bias: false, group: 1 },
      ...{ least: 0.3, most: 1.5 },
    },
    'Mamba-2 without a past under its filter': {
      kind: 'mamba2',
      heads: 2,
      headWidth: 4,
      state: 4,
      kernel: 1,
      group: 8,
    },
  },
  't5-linear': {
    't5: local': { kind: 't5-linear', group: 8, local: {} },
    't5: global': { kind: 't5-linear', group: 8, global: { scale: 'one' } },
    't5: augmented': { kind: 't5-linear', group: 8, local: {}, global: {}, convolution: { kernel: 9 } },
    't5: softmax local kernel, λ': {
      ...{ kind: 't5-linear', group: 3, local: { kernel: 'softmax', scale: 'learned' }, global: {} },
    },
    't5: relu² of raw scores': { kind: 't5-linear', group: 3, local: { kernel: 'relu2-raw' }, global: {} },
    't5: local yoso kernel': { kind: 't5-linear', group: 8, local: { kernel: 'yoso', bits: 3 }, global: {} },
  },
  gated: {
    'gated, decay by data': { kind: 'gated', group: 8 },
    'gated, learned decay and convolution': { kind: 'gated', group: 5, decay: 'learned', convolution },
    'gated, fixed decay of unit rows': {
      ...{ kind: 'gated', group: 3, map: { name: 'unit' }, decay: 'fixed', output: 'rms', convolution: { kernel: 31 } },
    },
    'gated, plain rows': { kind: 'gated', group: 4, map: { name: 'none' }, output: 'none', convolution },
    'gated elu': { kind: 'gated', group: 8, map: { name: 'elu' }, decay: 'learned' },
    'gated balanced, position by position': { kind: 'gated', group: 1, map: { name: 'balanced' } },
  },
  'gated-delta': {
    'gated delta': { kind: 'gated-delta', group: 8 },
    'gated delta, learned decay and convolution': { kind: 'gated-delta', group: 5, decay: 'learned', convolution },
    'gated delta, fixed decay, reach beyond the group': {
      ...{ kind: 'gated-delta', group: 3, decay: 'fixed', output: 'rms', convolution: { kernel: 31 } },
    },
    'delta without a gate': { kind: 'gated-delta', group: 8, decay: 'none' },
    'gated delta, position by position': { kind: 'gated-delta', group: 1 },
  },
  'delta-net': {
    'delta net of shared keys': { kind: 'delta-net', group: 8, ...sizes },
    'delta net, filters beyond the ring': { kind: 'delta-net', group: 2, ...sizes, keyHeads: 2, kernel: 5 },
    'delta net, position by position': { kind: 'delta-net', group: 1, ...sizes, kernel: 1 },
    'delta net of signs, filters apart': { kind: 'delta-net', group: 4, ...sizes, doubled: true, apart: true },
  },
  'short-conv': {
    'short convolution': { kind: 'short-conv' },
    'short convolution with bias': { kind: 'short-conv', kernel: 4, bias: true },
    'short convolution of one position': { kind: 'short-conv', kernel: 1 },
  },
};
