/** The paper's grouped linear attention in the form that its code gives it in T5: see `parallel.ts`. */
import type { MixerKind } from '../../mixer.ts';
import { t5LinearCross, type T5LinearMixer, t5LinearOfWhole, t5LinearParallel, t5LinearSchema } from './parallel.ts';
import { t5LinearReference } from './reference.ts';
import { t5LinearFold, t5LinearState, t5LinearStep } from './step.ts';
import { branchParameters, describeBranches } from '../linear/config.ts';

export const t5LinearKind = {
  kind: 't5-linear',
  family: 't5',
  schema: t5LinearSchema,
  examples: {
    't5: local': { kind: 't5-linear', group: 8, local: {} },
    't5: global': { kind: 't5-linear', group: 8, global: { scale: 'one' } },
    't5: augmented': { kind: 't5-linear', group: 8, local: {}, global: {}, convolution: { kernel: 9 } },
    't5: softmax local kernel, λ': {
      ...{ kind: 't5-linear', group: 3, local: { kernel: 'softmax', scale: 'learned' }, global: {} },
    },
    't5: relu² of raw scores': { kind: 't5-linear', group: 3, local: { kernel: 'relu2-raw' }, global: {} },
    't5: local yoso kernel': { kind: 't5-linear', group: 8, local: { kernel: 'yoso', bits: 3 }, global: {} },
  },
  describe: (config) => describeBranches({ ...config, normalize: null, castling: false }),
  parameters: (config, dims) => branchParameters(config, dims),
  convolvesPadding: ({ padding }) => padding === 'read',
  hasSurrogateGradient: ({ local }) => local?.kernel === 'yoso',
  reference: t5LinearReference,
  parallel: (config, input) => t5LinearParallel(config, input),
  recurrent: { state: t5LinearState, step: t5LinearStep, fold: t5LinearFold },
  bidirectional: t5LinearOfWhole,
  cross: t5LinearCross,
  presets: {},
} satisfies MixerKind<T5LinearMixer>;
