/** The mixer of a gated attention unit: FLASH's own attention, or any other in its stead. */
import { type GauMixer, gauSchema, unitForm } from '../../../attention/kinds/gau/config.ts';
import type { MixerConfig } from '../../../attention/mixer.ts';
import type { FlashConfig } from './config.ts';

export { offsetScaleRows, unitRows } from '../../../attention/kinds/gau/config.ts';

/** The mixer that the fields of a configuration describe. */
export function nativeMixer(config: FlashConfig): GauMixer {
  const { attention, activation, group_size: group, local, global, castling, trained_length: n } = config;
  if (attention === 'mixed') {
    const convolution = config.convolution === null ? null : { kernel: config.convolution };
    const own = local ? { kernel: activation } : null;
    return gauSchema.parse({ kind: 'gau', group, local: own, global, convolution, castling });
  }
  const whole = { kind: 'gau', group: null, global: false } as const;
  if (attention === 'softmax') return gauSchema.parse({ ...whole, local: { kernel: 'softmax', divisor: n } });
  if (attention === 'square') return gauSchema.parse({ ...whole, local: { kernel: activation, divisor: n } });
  return gauSchema.parse({ ...whole, local: { kernel: activation, divisor: n * n, biasDivisor: n } });
}

/** The form of `mixer` in a unit of this model: see `unitForm`. */
export function unitMixer({ activation }: FlashConfig, mixer: MixerConfig): MixerConfig {
  return unitForm(mixer, activation);
}

/** The mixer of every layer. */
export function unitMixers(config: FlashConfig): readonly MixerConfig[] {
  const native = nativeMixer(config);
  return Array.from({ length: config.depth }, (_, layer) => {
    const given = config.linnet?.mixers[layer];
    return given === undefined ? native : unitMixer(config, given);
  });
}
