/** Ablations: a model of which a branch of every mixer is switched off. */
import type { Branch } from '../../attention/mixer.ts';
import { withoutBranch } from '../../attention/mixers.ts';
import { LinnetError } from '../../errors.ts';
import type { CausalModel } from '../model.ts';

/**
 * The model without a branch of its mixers. Its parameters are a subset of the model's, unchanged.
 * @throws LinnetError `CONFIG` if no mixer has the branch
 */
export function modelWithout(model: CausalModel, branch: Branch): CausalModel {
  const rest = model.mixers.map((mixer) => withoutBranch(mixer, branch));
  if (rest.every((mixer) => mixer === undefined)) {
    throw new LinnetError('CONFIG', `no mixer of the model has a ${branch} that can be switched off`);
  }
  return model.withMixers(model.mixers.map((mixer, layer) => rest[layer] ?? mixer));
}
