/** Options that say where labelled texts are in a file. */
import { labelShape } from '../../data/datasets/labelled.ts';
import { optionsOf } from '../framework/schema-options.ts';

export const labelOptions = optionsOf(labelShape);
