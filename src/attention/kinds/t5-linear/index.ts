/** The paper's grouped linear attention in the form its code has for T5: see `forms.ts`. */
import type { MixerKind } from '../../mixer.ts';
import {
  linearForm,
  type T5LinearMixer,
  t5LinearCross,
  t5LinearOfWhole,
  t5LinearParallel,
  t5LinearRecurrent,
  t5LinearSchema,
} from './forms.ts';
import { t5LinearReference } from './reference.ts';
import { branchParameters, describeBranches } from '../linear/config.ts';

export const t5LinearKind = {
  kind: 't5-linear',
  family: 't5',
  schema: t5LinearSchema,
  describe: (config) => describeBranches(linearForm(config)),
  parameters: branchParameters,
  convolvesPadding: ({ padding }) => padding === 'read',
  hasSurrogateGradient: ({ local }) => local?.kernel === 'yoso',
  reference: t5LinearReference,
  parallel: t5LinearParallel,
  recurrent: t5LinearRecurrent,
  bidirectional: t5LinearOfWhole,
  cross: t5LinearCross,
  presets: {},
} satisfies MixerKind<T5LinearMixer>;
