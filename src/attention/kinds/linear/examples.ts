/** Small configurations of the linear kind that between them use every branch, kernel and norm. */
import type { z } from 'zod';
import type { linearSchema } from './config.ts';

const G = 8;
const local = {};
const global = {};
const convolution = { kernel: 9 };

export const linearExamples: Readonly<Record<string, z.input<typeof linearSchema>>> = {
  local: { kind: 'linear', group: G, local },
  'softmax local': { kind: 'linear', group: G, local: { kernel: 'softmax' } },
  global: { kind: 'linear', group: G, global: { scale: 'one' } },
  'local + global': { kind: 'linear', group: G, local, global },
  'local + convolution': { kind: 'linear', group: G, local, convolution },
  'global + convolution': { kind: 'linear', group: G, global: { scale: 'one' }, convolution },
  'convolution alone': { kind: 'linear', group: G, convolution },
  augmented: { kind: 'linear', group: G, local, global, convolution },
  'augmented, long kernel': { kind: 'linear', group: G, local, global, convolution: { kernel: 63 } },
  'augmented, softmax local kernel': { kind: 'linear', group: G, local: { kernel: 'softmax' }, global, convolution },
  'augmented with λ': { kind: 'linear', group: G, local: { scale: 'learned' }, global, convolution },
  'augmented, NORM_GLOBAL': { kind: 'linear', group: G, local, global, convolution, normalize: 'global' },
  'augmented, NORM_TOGETHER': { kind: 'linear', group: G, local, global, convolution, normalize: 'together' },
  'augmented, local branch normalized': { kind: 'linear', group: G, local, global, convolution, normalize: 'local' },
  'augmented, relu² of raw scores, normalized': {
    ...{ kind: 'linear', group: G, local: { kernel: 'relu2-raw' }, global, convolution, normalize: 'local' },
  },
  'local yoso kernel, normalized': { kind: 'linear', group: 3, local: { kernel: 'yoso', bits: 4 }, normalize: 'local' },
  castling: { kind: 'linear', group: G, local, global, convolution, castling: true },
  'castling, normalized': {
    ...{ kind: 'linear', group: 3, local: { scale: 'learned' }, global, convolution: { kernel: 3 } },
    ...{ castling: true, normalize: 'together' },
  },
  'local yoso kernel': { kind: 'linear', group: G, local: { kernel: 'yoso', bits: 4 }, global, convolution },
  'unmasked convolution': { kind: 'linear', group: G, local, global, convolution: { kernel: 9, masked: false } },
  ungrouped: { kind: 'linear', group: 1, local, global },
  'groups of 3': { kind: 'linear', group: 3, local, global, convolution: { kernel: 5 } },
};
