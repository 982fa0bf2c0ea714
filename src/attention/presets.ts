/** Mixers by name: the paper's own, the linear attentions it augments, and others from the literature. */
import type { z } from 'zod';
import { LinnetError, OptionsError } from '../errors.ts';
import { type BuiltInPresets, mixerKinds } from './kinds/index.ts';
import type { MixerConfig, MixerPreset, Reading } from './mixer.ts';
import { isExchangeable, parseMixer } from './mixers.ts';
import { requireOptions, requireText } from '../files/arguments.ts';

/** The names of built-in presets. */
export type MixerPresetName = keyof BuiltInPresets;

type Shapes = BuiltInPresets[MixerPresetName]['shape'];

/** The values of an option in the presets that take it. */
type ValueOf<Option, Shape> = Shape extends unknown
  ? Option extends keyof Shape
    ? z.output<Shape[Option]>
    : never
  : never;

/**
 * All presets' options; each preset takes some (`PresetOptionsOf`). The presets' shapes describe them; the kind's schema
 * holds the defaults.
 */
export type PresetOptions = { readonly [Option in NamesOf<Shapes>]?: ValueOf<Option, Shapes> };

/** The options a preset takes. One that always has a convolution may be asked for it. */
type TakenBy<Shape> = keyof Shape | ('kernel' extends keyof Shape ? 'convolution' : never);

/** The options of a built-in preset; all options for a name unknown at compile time. */
export type PresetOptionsOf<Name extends string> = Name extends MixerPresetName
  ? {
      readonly [Option in keyof PresetOptions]: Option extends TakenBy<BuiltInPresets[Name]['shape']>
        ? PresetOptions[Option]
        : undefined;
    }
  : PresetOptions;

function allPresets(): ReadonlyMap<string, MixerPreset> {
  return new Map(mixerKinds().flatMap(({ presets }) => Object.entries(presets)));
}

/** The names that `mixerPreset` knows. */
export function mixerPresetNames(): string[] {
  return [...allPresets().keys()];
}

/** Every name of a union of objects. */
type NamesOf<Shapes> = Shapes extends unknown ? keyof Shapes : never;

/** The schemas of all built-in presets' options. */
export type PresetShapes = { readonly [Option in NamesOf<Shapes>]: z.ZodType<PresetOptions[Option]> };

/** All presets' options by name: schemas with descriptions. */
export function presetShapes(): PresetShapes;
export function presetShapes(): MixerPreset['shape'] {
  return Object.fromEntries([...allPresets().values()].flatMap(({ shape }) => Object.entries(shape)));
}

/** A preset by name. @throws LinnetError `CONFIG` for an unknown name */
export function findPreset(name: string): MixerPreset {
  requireText(name, 'the name of a mixer');
  const preset = allPresets().get(name);
  if (preset !== undefined) return preset;
  throw new LinnetError('CONFIG', `unknown mixer '${name}'; the presets are ${mixerPresetNames().join(', ')}`);
}

/** The preset that a name means for whole texts: `linformer` is the published form there, all others are unchanged. */
export function wholeTextPreset(name: string): string {
  return allPresets().get(name)?.wholeText ?? name;
}

/** Whether a preset takes an option. */
function takes({ shape }: MixerPreset, option: string): boolean {
  return Object.hasOwn(shape, option) || (option === 'convolution' && Object.hasOwn(shape, 'kernel'));
}

/** @throws OptionsError for an option that none of these presets takes, naming those they take */
function requireTaken(names: readonly string[], options: PresetOptions): void {
  const presets = names.map(findPreset);
  const known = presetShapes();
  for (const [option, value] of Object.entries(options)) {
    if (!Object.hasOwn(known, option)) {
      const all = Object.keys(known).join(', ');
      throw new LinnetError('CONFIG', `mixers have no option '${option}'; the options are ${all}`);
    }
    const isAsked = value !== undefined && value !== false;
    if (!isAsked || presets.some((preset) => takes(preset, option))) continue;
    const taken = Object.keys(known).filter((one) => presets.some((preset) => takes(preset, one)));
    const list = taken.length === 0 ? 'no options' : taken.map((one) => `\`${one}\``).join(', ');
    throw new OptionsError(`the mixer ${names[0]} does not take \`${option}\`; it takes ${list}`);
  }
}

/**
 * Picks the options that this preset takes from options for several.
 * @throws LinnetError `CONFIG` for an unknown preset
 * @example
 * ```ts
 * const sizes = { group: 16, features: 32 };
 * const mixers = ['local', 'performer'].map((name) => mixerPreset(name, takenOptions(name, sizes)));
 * ```
 */
export function takenOptions(name: string, options: PresetOptions): PresetOptions {
  const preset = findPreset(name);
  return Object.fromEntries(Object.entries(options).filter(([option]) => takes(preset, option)));
}

/**
 * A preset by name. The paper's are `softmax`, `local`, `global`, `local+global`, `local+conv` and `augmented` (all three
 * branches); a global branch next to a local one is scaled by the learned α. `flash-local`, `flash-global` and `flash` are
 * aliases of `local`, `global` and `local+global`. The others are the linear attentions that the paper augments, each
 * optionally with a convolution. All but `linformer-bidirectional` are causal.
 *
 * @throws LinnetError `CONFIG` for an unknown name or option; OptionsError for an option out of range and for one that the
 *   preset does not take, naming those it takes
 * @example
 * ```ts
 * import { mixerPreset } from 'linnet';
 *
 * const mixer = mixerPreset('augmented', { group: 64, kernel: 63 });
 * ```
 */
export function mixerPreset<Name extends MixerPresetName | (string & {})>(
  name: Name,
  options?: PresetOptionsOf<Name>,
): MixerConfig;
export function mixerPreset(name: string, options: PresetOptions = {}): MixerConfig {
  requireOptions(options, 'the options of a mixer');
  requireTaken([name], options);
  try {
    return parseMixer(findPreset(name).make({ ...options }));
  } catch (error) {
    if (!(error instanceof LinnetError)) throw error;
    throw new OptionsError(`the mixer ${name}: ${error.message}`, { cause: error });
  }
}

/**
 * A preset in its form for attention that reads the past, or a whole text (`wholeTextPreset`).
 * @param others further readings that share the options: options of any of these forms are then accepted
 * @throws LinnetError `CONFIG` and OptionsError like `mixerPreset`
 */
export function mixerPresetReading(
  reads: Reading,
  name: string,
  options: PresetOptions,
  others: readonly Reading[] = [],
): MixerConfig {
  const formOf = (reading: Reading): string => (reading === 'past' ? name : wholeTextPreset(name));
  requireTaken([reads, ...others].map(formOf), options);
  const form = formOf(reads);
  return mixerPreset(form, takenOptions(form, options));
}

/** Both, for models with an encoder and a decoder. */
export const allReadings = ['past', 'whole'] as const satisfies readonly Reading[];

/**
 * The kernel for a preset's local branch in a model that is linearized: softmax inside groups if every layer has softmax
 * attention, which the weights were made for (paper, section 4.1; docs/convert.md). Undefined, meaning the preset's own,
 * for FLASH, models linearized before, and presets without a local branch.
 * @throws LinnetError `CONFIG` for an unknown preset
 * @example
 * const preset = mixerPreset('augmented', { localKernel: localKernelFor([{ kind: 'softmax' }], 'augmented') });
 */
export function localKernelFor(mixers: readonly MixerConfig[], preset: string): 'softmax' | undefined {
  if (!Object.hasOwn(findPreset(preset).shape, 'localKernel')) return undefined;
  const softmax = JSON.stringify(mixerPreset('softmax'));
  const attentions = mixers.filter(isExchangeable);
  return attentions.every((mixer) => JSON.stringify(mixer) === softmax) ? 'softmax' : undefined;
}
