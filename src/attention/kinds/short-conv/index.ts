/**
 * LFM2's short convolution: y_t = q_t ⊙ (Σ_τ w[L−1−τ] ⊙ z_{t−τ} + b) with z = k ⊙ v and τ = 0…L−1, channel by channel. Its
 * authors call q C, k B and v x. The state is z of the last L − 1 positions.
 */
import type { MixerKind } from '../../mixer.ts';
import type { ReferencePositions } from '../../reference.ts';
import { shortBias, type ShortConvMixer, shortConvSchema, shortFilter, shortParameters } from './config.ts';
import { shortInputs, shortParallel, shortState, shortStep } from './forms.ts';

function shortReference({ kernel, bias }: ShortConvMixer, positions: ReferencePositions): Float64Array {
  const [filter, offsets] = [positions.parameter(shortFilter), positions.parameter(shortBias)];
  const { headWidth: D } = positions;
  return positions.mapRows((head, position) => {
    const past = positions.lineage(position).slice(0, kernel);
    return positions.query(head, position).map((q, i) => {
      const channel = head * D + i;
      const product = (at: number): number => positions.key(head, at)[i] * positions.value(head, at)[i];
      const sum = past.reduce((total, at, back) => {
        return total + filter[channel * kernel + kernel - 1 - back] * product(at);
      }, 0);
      return q * (sum + (bias ? offsets[channel] : 0));
    });
  });
}

export const shortConvKind = {
  kind: 'short-conv',
  family: 'lfm2',
  // M heads of width/M channels.
  ownDims: (_, { keyValueHeads, width }) => {
    const channels = width / keyValueHeads;
    return { heads: keyValueHeads, keyValueHeads, headWidth: channels, valueWidth: channels };
  },
  schema: shortConvSchema,
  describe: ({ kernel, bias }) => `short convolution ${kernel}${bias ? ' with bias' : ''}`,
  parameters: shortParameters,
  horizon: ({ kernel }) => ({ group: 1, reach: kernel - 1 }),
  reference: shortReference,
  parallel: shortParallel,
  recurrent: {
    sameBits: () => 'own rows',
    isLight: true,
    state: shortState,
    step: shortStep,
    inputs: shortInputs,
  },
  presets: {},
} satisfies MixerKind<ShortConvMixer>;
