/** What mixes positions in a gated attention unit: FLASH's own attention, or any other mixer in its place. */
import { type GauMixer, type MixerConfig, type MixerInput, parseMixer } from '../../attention/mixer.ts';
import { LinnetError } from '../../errors.ts';
import type { FlashConfig } from './config.ts';

/** The mixer that the fields of a configuration describe. */
export function nativeMixer(config: FlashConfig): GauMixer {
  const { attention, activation, group_size: group, local, global, castling, trained_length: n } = config;
  if (attention === 'mixed') {
    const convolution = config.convolution === null ? null : { kernel: config.convolution };
    return unit({ kind: 'gau', group, local: local ? { kernel: activation } : null, global, convolution, castling });
  }
  const whole = { kind: 'gau', group: null, global: false } as const;
  if (attention === 'softmax') return unit({ ...whole, local: { kernel: 'softmax', divisor: n } });
  if (attention === 'square') return unit({ ...whole, local: { kernel: activation, divisor: n } });
  return unit({ ...whole, local: { kernel: activation, divisor: n * n, biasDivisor: n } });
}

/**
 * The mixer that stands for `mixer` in a unit. The local and global branches of the linear kind are FLASH's own there, with
 * the model's activation for relu² and without α, which FLASH does not have; a learned λ, norms and other kernels are not
 * FLASH's, and stay what they are.
 */
export function unitMixer({ activation }: FlashConfig, mixer: MixerConfig): MixerConfig {
  if (mixer.kind !== 'linear' || mixer.normalize !== null) return mixer;
  const { group, local, global, convolution, castling } = mixer;
  if (local !== null && (local.kernel !== 'relu2' || local.scale === 'learned')) return mixer;
  return unit({
    kind: 'gau',
    group,
    local: local === null ? null : { kernel: activation },
    global: global !== null,
    convolution,
    castling,
  });
}

/** The mixer of every layer. */
export function unitMixers(config: FlashConfig): readonly MixerConfig[] {
  const native = nativeMixer(config);
  return Array.from({ length: config.depth }, (_, layer) => {
    const given = config.linnet?.mixers[layer];
    return given === undefined ? native : unitMixer(config, given);
  });
}

/**
 * Rows of γ and β: local q, global q, local k and global k where positions are grouped, whichever branches there are; q and
 * k for every other mixer.
 */
export function offsetScaleRows(mixer: MixerConfig): 2 | 4 {
  return mixer.kind === 'gau' && mixer.group !== null ? 4 : 2;
}

/** Which of these rows become queries, and which keys: one or two neighbours. */
export function unitRows(mixer: MixerConfig): { readonly queries: RowRange; readonly keys: RowRange } {
  if (offsetScaleRows(mixer) === 2) return { queries: [0, 1], keys: [1, 2] };
  const hasLocal = mixer.kind !== 'gau' || mixer.local !== null;
  const hasGlobal = mixer.kind !== 'gau' || mixer.global;
  const first = hasLocal ? 0 : 1;
  const end = hasGlobal && hasLocal ? 2 : first + 1;
  return { queries: [first, end], keys: [2 + first, 2 + end] };
}

type RowRange = readonly [first: number, end: number];

function unit(input: MixerInput): GauMixer {
  const mixer = parseMixer(input);
  if (mixer.kind === 'gau') return mixer;
  throw new LinnetError('INTERNAL', `internal: a unit's own mixer is of kind ${mixer.kind}`);
}
