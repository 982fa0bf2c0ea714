/** Options that configure a mixer, of the commands that take one: those that the presets declare. */
import { mixerPresetNames } from '../../attention/presets.ts';
import { withDefault } from '../framework/command.ts';
import { choice } from '../framework/option-values.ts';

/** The option `--mixer` of commands that make a model of their own. */
export const mixerNameOption = withDefault(choice(mixerPresetNames()), 'augmented', mixerPresetNames().join(', '));
