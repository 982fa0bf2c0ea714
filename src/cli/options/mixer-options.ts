/** Options that configure a mixer, of the commands that take one: those that the presets declare. */
import type { z } from 'zod';
import type { MixerConfig, Reading } from '../../attention/mixer.ts';
import { mixerPresetNames, mixerPresetReading, type PresetOptions, presetShapes } from '../../attention/presets.ts';
import { LinnetError, OptionsError } from '../../errors.ts';
import { withDefault } from '../framework/command.ts';
import { choice } from '../framework/option-values.ts';
import { optionsOf } from '../framework/schema-options.ts';

/** The option `--mixer` of commands that make a model of their own. */
export const mixerNameOption = withDefault(choice(mixerPresetNames()), 'augmented', mixerPresetNames().join(', '));

const { convolution, ...shapes } = presetShapes();

/** Sizes and refinements; the name of the preset is the command's own option. `--conv` adds a convolution. */
export const mixerOptions = optionsOf({ ...shapes, conv: convolution });

/** The values of `mixerOptions`, and the preset. */
export type MixerOptionValues = { readonly mixer: string } & Partial<z.output<z.ZodObject<typeof mixerOptions>>>;

/**
 * The mixer that the options name, of an attention that reads the past or a whole text.
 * @param others further readings that the same options are for
 * @throws OptionsError for options that it does not take, are out of range or exclude each other
 */
export function configureMixer(
  { mixer, conv, ...values }: MixerOptionValues,
  reads: Reading = 'past',
  others: readonly Reading[] = [],
): MixerConfig {
  try {
    return mixerPresetReading(reads, mixer, { ...pick(values), convolution: conv }, others);
  } catch (error) {
    if (!(error instanceof LinnetError) || error.code !== 'CONFIG') throw error;
    const message = error.message.replaceAll('`convolution`', '`conv`');
    throw new OptionsError(`--mixer ${mixer}: ${message}`, { cause: error });
  }
}

/** The options of presets among others. */
function pick(values: PresetOptions): PresetOptions {
  const known = new Set(Object.keys(shapes));
  return Object.fromEntries(Object.entries(values).filter(([name]) => known.has(name)));
}
