/** The layer of multi-token prediction of a model as a model of its own, over an input of hidden states. */
import type { CausalModel, GeneratingModel } from '../model.ts';

/** The hidden states [B,T,width] that the tokens of a step were chosen from. */
export const beforeInput = 'before';

/**
 * The model whose step graph drafts; undefined where there is none.
 * @param names of the parameters that the model's folder holds. Default: all that the layer has
 */
export function mtpStepModel(model: GeneratingModel, names?: readonly string[]): CausalModel | undefined {
  if (model.kind !== 'causal' || model.mtp === undefined) return undefined;
  const { mtp, sizes } = model;
  const present = new Set(names ?? mtp.parameters.keys());
  if (![...mtp.parameters.keys()].every((name) => present.has(name))) return undefined;
  return mtp.model(({ graph }, tokens) => graph.input(beforeInput, 'float32', [...tokens.shape, sizes.width]));
}
