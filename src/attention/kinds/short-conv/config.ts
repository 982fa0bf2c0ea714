/** Configuration of short convolutions. */
import { z } from 'zod';
import type { AttentionDims, MixerParameter } from '../../mixer.ts';
import { offByDefault, whole } from '../../../files/schema-values.ts';

export const shortConvSchema = z.strictObject({
  kind: z.literal('short-conv'),
  /** L: positions under the filter, including the current one. */
  kernel: whole(1, 64).default(3),
  /** Whether every channel has a bias b. */
  bias: offByDefault,
});

/** A short convolution. */
export type ShortConvMixer = z.infer<typeof shortConvSchema>;

/** The filters [channels,1,L]; index L − 1 weighs the current position. */
export const shortFilter = 'conv.weight';

/** b [channels] */
export const shortBias = 'conv.bias';

export function shortParameters({ kernel, bias }: ShortConvMixer, dims: AttentionDims): MixerParameter[] {
  const channels = dims.keyValueHeads * dims.headWidth;
  return [
    { name: shortFilter, shape: [channels, 1, kernel], init: 'means' },
    ...(bias ? [{ name: shortBias, shape: [channels], init: 'zeros' } as const] : []),
  ];
}
