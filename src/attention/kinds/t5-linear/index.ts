/** The paper's grouped linear attention in the form that its code gives it in T5: see `forms.ts`. */
import type { MixerKind } from '../../mixer.ts';
import {
  type T5LinearMixer,
  t5LinearCross,
  t5LinearFold,
  t5LinearOfWhole,
  t5LinearParallel,
  t5LinearSchema,
  t5LinearState,
  t5LinearStep,
} from './forms.ts';
import { t5LinearReference } from './reference.ts';
import { branchParameters, describeBranches } from '../linear/config.ts';

export const t5LinearKind = {
  kind: 't5-linear',
  family: 't5',
  schema: t5LinearSchema,
  describe: (config) => describeBranches({ ...config, normalize: null, castling: false }),
  parameters: (config, dims) => branchParameters(config, dims),
  convolvesPadding: ({ padding }) => padding === 'read',
  hasSurrogateGradient: ({ local }) => local?.kernel === 'yoso',
  reference: t5LinearReference,
  parallel: (config, input) => t5LinearParallel(config, input),
  recurrent: { state: t5LinearState, step: t5LinearStep, fold: t5LinearFold, sameBits: () => 'open rows' },
  bidirectional: t5LinearOfWhole,
  cross: t5LinearCross,
  presets: {},
} satisfies MixerKind<T5LinearMixer>;
