/** The form of other mixers in a gated attention unit. */
import { type LinearMixer, linearSchema } from '../linear/config.ts';
import type { MixerConfig } from '../../mixer.ts';
import { type GauMixer, gauSchema } from './config.ts';

type Activation = NonNullable<GauMixer['local']>['kernel'];

/**
 * The form of `mixer` in a unit. The local and global branches of the linear kind are FLASH's own there, with
 * the model's activation for relu² and without α, which FLASH does not have; a learned λ, norms and other kernels are not
 * FLASH's and stay unchanged, as do all other kinds.
 */
export function unitForm(mixer: MixerConfig, activation: Activation): MixerConfig {
  const linear = linearSchema.safeParse(mixer);
  return linear.success && isFlash(linear.data) ? ownForm(linear.data, activation) : mixer;
}

function isFlash({ normalize, local }: LinearMixer): boolean {
  return normalize === null && (local === null || (local.kernel === 'relu2' && local.scale !== 'learned'));
}

function ownForm({ group, local, global, convolution, castling }: LinearMixer, activation: Activation): GauMixer {
  return gauSchema.parse({
    ...{ kind: 'gau', group, local: local === null ? null : { kernel: activation } },
    ...{ global: global !== null, convolution, castling },
  });
}

/**
 * Rows of γ and β in a unit: local q, global q, local k and global k where positions are grouped, whichever branches there
 * are; q and k for every other mixer.
 */
export function offsetScaleRows(mixer: MixerConfig): 2 | 4 {
  const own = gauSchema.safeParse(mixer);
  return own.success && own.data.group !== null ? 4 : 2;
}

type RowRange = readonly [first: number, end: number];

/** Which of these rows become queries, and which keys: one or two neighbours. */
export function unitRows(mixer: MixerConfig): { readonly queries: RowRange; readonly keys: RowRange } {
  const own = gauSchema.safeParse(mixer);
  if (!own.success || own.data.group === null) return { queries: [0, 1], keys: [1, 2] };
  const { local, global } = own.data;
  const first = local !== null ? 0 : 1;
  const end = global && local !== null ? 2 : first + 1;
  return { queries: [first, end], keys: [2 + first, 2 + end] };
}
