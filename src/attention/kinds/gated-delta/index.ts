/**
 * The gated delta rule (Yang et al., Gated Delta Networks, arXiv 2412.06464): a state maps keys to values; every position
 * decays it and replaces part of the value stored for its own key. The formula is in `reference.ts`.
 */
import type { MixerKind } from '../../mixer.ts';
import { convolvedPreset, decayOption, groupOption } from '../../preset.ts';
import { describeGatedDelta, type GatedDeltaMixer, gatedDeltaParameters, gatedDeltaSchema } from './config.ts';
import { gainName } from '../gated/config.ts';
import { gatedDeltaParallel } from './parallel.ts';
import { gatedDeltaReference } from './reference.ts';
import { gatedDeltaRecurrent } from './step.ts';

export const gatedDeltaKind = {
  kind: 'gated-delta',
  schema: gatedDeltaSchema,
  describe: describeGatedDelta,
  parameters: gatedDeltaParameters,
  reference: gatedDeltaReference,
  parallel: gatedDeltaParallel,
  recurrent: gatedDeltaRecurrent,
  // Every write depends on earlier ones, so the rule needs an order, which neither encoders nor cross attention have.
  betweenTexts: () => ({ kind: 'softmax' }),
  calibration: () => ({ affine: [gainName] }),
  presets: {
    'gated-delta': convolvedPreset('gated-delta', { ...groupOption, ...decayOption }),
    delta: convolvedPreset('gated-delta', groupOption, (fields) => ({ ...fields, decay: 'none' })),
  },
} satisfies MixerKind<GatedDeltaMixer>;
