/** Options that configure a mixer, of the commands that take one: those that the presets declare. */
import type { z } from 'zod';
import type { MixerConfig } from '../../attention/mixer.ts';
import {
  findPreset,
  mixerPreset,
  mixerPresetNames,
  type PresetOptions,
  presetShapes,
} from '../../attention/presets.ts';
import { LinnetError } from '../../errors.ts';
import { withDefault } from '../framework/command.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { choice } from '../framework/option-values.ts';
import { optionsOf } from '../framework/schema-options.ts';

/** The option `--mixer` of commands that make a model of their own. */
export const mixerNameOption = withDefault(choice(mixerPresetNames()), 'augmented', mixerPresetNames().join(', '));

const { convolution, ...shapes } = presetShapes();

/** Sizes and refinements; the name of the preset is the command's own option. `--conv` adds a convolution. */
export const mixerOptions = optionsOf({ ...shapes, conv: convolution });

/** The values of `mixerOptions`, and the preset. */
export type MixerOptionValues = { readonly mixer: string } & Partial<z.output<z.ZodObject<typeof mixerOptions>>>;

/** Options that refine a branch, by what they refine. All others are sizes, which mixers ignore that have no use for them. */
const refinements: Readonly<Record<string, string>> = {
  convolution: 'mixers with a convolution',
  localKernel: 'the local branch',
  lambda: 'the local branch',
  castling: 'local and global branches',
  normalize: 'local and global branches',
  unmasked: 'the convolution',
  map: 'gated attention',
  decay: 'mixers that forget',
};

/**
 * A preset with its refinements. A refinement of a branch that the preset lacks is a mistake, not to be ignored.
 * @throws UsageError naming the option
 */
export function configureMixer({ mixer, conv, ...values }: MixerOptionValues): MixerConfig {
  const preset = findPreset(mixer);
  const options: PresetOptions = { ...pick(values), convolution: conv };
  for (const [name, value] of Object.entries(options)) {
    const given = value !== undefined && value !== false;
    if (!given || refinements[name] === undefined || Object.hasOwn(preset.shape, name)) continue;
    // A mixer that has its convolution anyway has no option to add it.
    if (name === 'convolution' && Object.hasOwn(preset.shape, 'kernel')) continue;
    const flag =
      name === 'convolution' ? '--conv' : `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    throw new UsageError(`${flag} is for ${refinements[name]}, which --mixer ${mixer} does not have`);
  }
  try {
    return mixerPreset(mixer, options);
  } catch (error) {
    if (!(error instanceof LinnetError) || error.code !== 'CONFIG') throw error;
    throw new UsageError(`--mixer ${mixer}: ${error.message}`, { cause: error });
  }
}

/** The options of presets among others. */
function pick(values: PresetOptions): PresetOptions {
  const known = new Set(Object.keys(shapes));
  return Object.fromEntries(Object.entries(values).filter(([name]) => known.has(name)));
}
