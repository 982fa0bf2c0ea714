/**
 * Gated linear attention: a decaying sum over the past, with a fixed, learned or data-dependent factor per position and
 * key-value head, o_t = Σ_j e^(Σ g_i)·⟨φ(q_t), φ(k_j)⟩·v_j. Lightning attention and RetNet are its fixed decays, gated
 * linear attention (arXiv 2312.06635) its data-dependent decays. The decays are in `decay.ts`, the formula in
 * `reference.ts`.
 */
import { z } from 'zod';
import type { MixerKind } from '../../mixer.ts';
import { convolvedPreset, decayOption, groupOption } from '../../preset.ts';
import {
  describeGated,
  gainName,
  type GatedMixer,
  gatedParameters,
  gatedSchema,
  isPositive,
  rowMapSchema,
} from './config.ts';
import { gatedOfWhole, gatedParallel } from './parallel.ts';
import { gatedReference } from './reference.ts';
import { gatedRecurrent } from './step.ts';

const mapOption = {
  map: z
    .enum(['hedgehog', 'balanced', 'relu', 'elu', 'unit', 'none'])
    .optional()
    .describe('features of queries and keys of gated attention (default: hedgehog)'),
};

/** The fields that a map's name implies. */
function mapFields(name: string | undefined): object {
  const map = name === undefined ? undefined : rowMapSchema.parse({ name });
  return { map, output: map === undefined || isPositive(map) ? 'ratio' : 'rms' };
}

export const gatedKind = {
  kind: 'gated',
  schema: gatedSchema,
  describe: describeGated,
  parameters: gatedParameters,
  reference: gatedReference,
  parallel: gatedParallel,
  recurrent: gatedRecurrent,
  bidirectional: gatedOfWhole,
  // Nothing decays between two texts' positions: attention there stays softmax.
  betweenTexts: () => ({ kind: 'softmax' }),
  calibration: ({ output }) => ({ affine: output === 'ratio' ? [] : [gainName] }),
  presets: {
    gated: convolvedPreset('gated', { ...groupOption, ...mapOption, ...decayOption }, ({ map, ...fields }) => ({
      ...fields,
      ...mapFields(map),
    })),
    lightning: convolvedPreset('gated', groupOption, (fields) => ({
      ...fields,
      ...mapFields('unit'),
      decay: 'fixed',
    })),
  },
} satisfies MixerKind<GatedMixer>;
