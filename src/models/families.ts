/** The table of model families. To add one, write its folder and its line here. */
import { LinnetError } from '../errors.ts';
import { gpt2Model } from './gpt2/model.ts';
import { llamaModel } from './llama/model.ts';
import type { CausalModel } from './model.ts';

/** `model_type` of config.json → the family's description of a model. */
const families: Readonly<Record<string, (json: Readonly<Record<string, unknown>>) => CausalModel>> = {
  gpt2: gpt2Model,
  llama: llamaModel,
};

/** The `model_type`s that can be opened. */
export const supportedFamilies: readonly string[] = Object.keys(families);

/**
 * The model that a config.json describes.
 * @throws LinnetError `CONFIG` for an unknown `model_type` or a configuration the family cannot use
 */
export function describeModel(json: Readonly<Record<string, unknown>>): CausalModel {
  const type = json.model_type;
  if (typeof type !== 'string' || !Object.hasOwn(families, type)) {
    const given = typeof type === 'string' ? `"${type}"` : 'missing';
    throw new LinnetError('CONFIG', `config.json: model_type is ${given}; supported: ${supportedFamilies.join(', ')}`);
  }
  return families[type](json);
}
