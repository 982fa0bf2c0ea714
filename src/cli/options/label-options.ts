/** Options that say where labelled texts are in a file. */
import type { LabelledFields } from '../../data/labelled.ts';
import { optional, withDefault } from '../framework/command.ts';
import { text } from '../framework/option-values.ts';

export const labelOptions = {
  textField: withDefault(text, 'text', {
    placeholder: 'name',
    description: 'field or column of the text; a number is that of a column, in a file without header',
  }),
  pairField: optional(text, { placeholder: 'name', description: 'field or column of a second text' }),
  labelField: withDefault(text, 'label', { placeholder: 'name', description: 'field or column of the label' }),
};

/** The fields that the options name. */
export function labelledFields({
  textField,
  pairField,
  labelField,
}: {
  readonly textField: string;
  readonly pairField?: string;
  readonly labelField: string;
}): LabelledFields {
  return { text: textField, pair: pairField, label: labelField };
}
