/** Mixers by name: those that the paper compares, and the linear attentions that it augments. */
import { LinnetError } from '../errors.ts';
import { type MixerConfig, type MixerInput, parseMixer } from './mixer-config.ts';

/** What a preset can be adjusted by. Presets ignore what they do not use; the defaults are those of the schema. */
export interface PresetOptions {
  /** G, default 64. */
  readonly group?: number;
  /** K, odd, default 63. */
  readonly kernel?: number;
  /** Adds the masked convolution of K taps to a preset that has none. */
  readonly convolution?: boolean;
  /** Random features (performer) or frequencies (rfa), default 64. */
  readonly features?: number;
  /** Hashes of `yoso-hashed`, default 32. */
  readonly hashes?: number;
  /** Bits per hash of both forms of YOSO, default 8. */
  readonly bits?: number;
  /** r of Linformer: rows per block, default 8; of its bidirectional form rows for the whole text, default 64. */
  readonly rows?: number;
  /** Positions per block of Linformer, default 64. */
  readonly block?: number;
  /** N of bidirectional Linformer, the longest sequence, default 1024. */
  readonly length?: number;
  /** Of random features and hashes, default 0. */
  readonly seed?: number;
}

/**
 * `global` alone has the constant scale 1: a learned α starts at 0, and a layer without another branch would then
 * output nothing at all.
 */
const mixerPresets = {
  softmax: () => ({ kind: 'softmax' }),
  local: ({ group }) => ({ kind: 'linear', group, local: {} }),
  global: ({ group }) => ({ kind: 'linear', group, global: { scale: 'one' } }),
  'local+global': ({ group }) => ({ kind: 'linear', group, local: {}, global: {} }),
  'local+conv': ({ group, kernel }) => ({ kind: 'linear', group, local: {}, convolution: { kernel } }),
  augmented: ({ group, kernel }) => ({ kind: 'linear', group, local: {}, global: {}, convolution: { kernel } }),
  'flash-local': ({ group }) => ({ kind: 'linear', group, local: {} }),
  'flash-global': ({ group }) => ({ kind: 'linear', group, global: { scale: 'one' } }),
  flash: ({ group }) => ({ kind: 'linear', group, local: {}, global: {} }),
  relu: ({ group }) => ({ kind: 'features', group, map: { name: 'relu' } }),
  performer: ({ group, features, seed }) => ({ kind: 'features', group, map: { name: 'performer', features, seed } }),
  transnormer: ({ group }) => ({ kind: 'features', group, map: { name: 'elu' }, output: 'rms' }),
  rfa: ({ group, features, seed }) => ({ kind: 'features', group, map: { name: 'rfa', features, seed } }),
  hedgehog: ({ group }) => ({ kind: 'features', group, map: { name: 'hedgehog' } }),
  linformer: ({ rows, block }) => ({ kind: 'block-linformer', rows, block }),
  'linformer-bidirectional': ({ rows, length }) => ({ kind: 'linformer', rows, length }),
  yoso: ({ bits }) => ({ kind: 'yoso', bits }),
  'yoso-hashed': ({ group, hashes, bits, seed }) => ({
    kind: 'features',
    group,
    map: { name: 'hashes', hashes, bits, seed },
    output: 'unit',
  }),
} as const satisfies Readonly<Record<string, (options: PresetOptions) => MixerInput>>;

export type MixerPreset = keyof typeof mixerPresets;

/** Presets that read the past alone, and the form that an attention to a whole text has instead. */
const wholeForms: Readonly<Partial<Record<string, MixerPreset>>> = { linformer: 'linformer-bidirectional' };

/**
 * The preset that a name means where attention reads a whole text, in an encoder or between two texts: `linformer` is the
 * published form there, all others are themselves.
 */
export function wholeTextPreset(name: string): string {
  return Object.hasOwn(wholeForms, name) ? (wholeForms[name] ?? name) : name;
}

/** The names `mixerPreset` knows. */
export const mixerPresetNames: readonly string[] = Object.keys(mixerPresets);

function isPreset(name: string): name is MixerPreset {
  return Object.hasOwn(mixerPresets, name);
}

/**
 * A preset by name. Those of the paper are `softmax`, `local`, `global`, `local+global`, `local+conv` and `augmented`
 * (all three branches); where one has a global branch beside a local one, it is scaled by the learned α. `flash-local`,
 * `flash-global` and `flash` are other names of `local`, `global` and `local+global`. The others are the linear
 * attentions that the paper augments, each to be had with `convolution`. All but `linformer-bidirectional` are
 * causal.
 *
 * @throws LinnetError `CONFIG` for an unknown name, an option out of range, or a convolution for softmax attention.
 */
export function mixerPreset(name: string, options: PresetOptions = {}): MixerConfig {
  if (!isPreset(name)) {
    throw new LinnetError('CONFIG', `unknown mixer '${name}'; the presets are ${mixerPresetNames.join(', ')}`);
  }
  const factory: (options: PresetOptions) => MixerInput = mixerPresets[name];
  const mixer = parseMixer(factory(options));
  if (options.convolution !== true) return mixer;
  if (mixer.kind === 'softmax') {
    throw new LinnetError('CONFIG', 'softmax attention has no convolution; choose one of the linear mixers');
  }
  return mixer.convolution === null ? parseMixer({ ...mixer, convolution: { kernel: options.kernel } }) : mixer;
}
