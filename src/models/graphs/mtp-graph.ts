/** A model's layer of multi-token prediction as a separate model, with hidden states as an input. */
import type { CausalModel, GeneratingModel } from '../model.ts';

/** The hidden states [B,T,width] that chose a step's tokens. */
export const beforeInput = 'before';

/**
 * The model whose step graph drafts; undefined if there is none.
 * @param names parameters in the model's folder. Default: all of the layer's
 */
export function mtpStepModel(model: GeneratingModel, names?: readonly string[]): CausalModel | undefined {
  if (model.kind !== 'causal' || model.mtp === undefined) return undefined;
  const { mtp, sizes } = model;
  const present = new Set(names ?? mtp.parameters.keys());
  if (![...mtp.parameters.keys()].every((name) => present.has(name))) return undefined;
  return mtp.model(({ graph }, tokens) => graph.input(beforeInput, 'float32', [...tokens.shape, sizes.width]));
}
