/** Options that configure a mixer, of the commands that take one: those that the presets declare. */
import { mixerPresetNames, presetShapes } from '../../attention/presets.ts';
import { withDefault } from '../framework/command.ts';
import { choice } from '../framework/option-values.ts';
import { optionsOf } from '../framework/schema-options.ts';

/** The option `--mixer` of commands that make a model of their own. */
export const mixerNameOption = withDefault(choice(mixerPresetNames()), 'augmented', mixerPresetNames().join(', '));

/** Sizes and refinements; the name of the preset is the command's own option. */
export const mixerOptions = optionsOf(presetShapes());
