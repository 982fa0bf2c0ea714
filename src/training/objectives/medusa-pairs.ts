/**
 * Training Medusa heads of an encoder-decoder model: as in `medusa.ts`, on the hidden states of the decoder, which reads the
 * target of a pair while it attends to the source.
 */
import { type PairDataset, pairInputs, type PairLengths } from '../../data/datasets/sequence-pairs.ts';
import { add, mul } from '../../graph/ops/elementwise.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { initializeMedusa, isMedusaParameter } from '../../models/medusa/medusa.ts';
import type { EncoderDecoderModel } from '../../models/model.ts';
import { train } from '../trainer.ts';
import { headLosses, type MedusaJob, type MedusaOutcome, type MedusaTraining, withMedusaHeads } from './medusa.ts';
import { type Objective, tokenLoss } from './next-token.ts';

/** As of `trainMedusa`; hidden states are not kept, since pairs may differ from pass to pass. */
export interface PairMedusaJob
  extends Omit<MedusaJob, 'model' | 'dataset' | 'hiddenStates' | 'hiddenStateFolder' | 'onHiddenStates'> {
  /** The backbone. */
  readonly model: EncoderDecoderModel;
  /** Pairs that the heads learn from. */
  readonly dataset: PairDataset;
}

/**
 * Trains heads of a T5, or continues from a snapshot as `train` does.
 * @throws LinnetError as `train`; `CONFIG` for targets too short for the heads
 * @example
 * ```ts
 * const medusa = { heads: 3, layers: 1, decay: 0.8 };
 * const { heads } = await trainPairMedusa({ ...job, medusa });
 * ```
 */
export async function trainPairMedusa(job: PairMedusaJob): Promise<Omit<MedusaOutcome, 'hiddenStates'>> {
  const { model, medusa, dataset } = job;
  const { parameters, ...outcome } = await train({
    ...job,
    model: withMedusaHeads(model, medusa),
    parameters: new Map([...initializeMedusa(medusa, model, job.parameters), ...job.parameters]),
    trainable: medusa.joint === undefined ? isMedusaParameter : undefined,
    objective: pairMedusaObjective(medusa, model, dataset.lengths),
    rateFactor: (name) => (isMedusaParameter(name) ? 1 : (medusa.joint?.rateFactor ?? 1)),
  });
  const part = (ofHeads: boolean): Map<string, Tensor<'float32'>> =>
    new Map([...parameters].filter(([name]) => isMedusaParameter(name) === ofHeads));
  return { ...outcome, heads: part(true), base: part(false) };
}

/** The objective over pairs of `lengths`. */
export function pairMedusaObjective(
  medusa: MedusaTraining,
  model: EncoderDecoderModel,
  lengths: PairLengths,
): Objective {
  return {
    inputs: pairInputs(lengths),
    loss(parameters, { source, sourceMask, inputs, labels, weights }) {
      const encoded = model.encode(parameters, { tokens: source, mask: sourceMask }); // [B,n,width]
      const hidden = model.decode(parameters, { tokens: inputs, encoded, encodedMask: sourceMask }); // [B,m,width]
      const heads = headLosses(medusa, model.sizes, parameters, hidden, { labels, weights });
      if (medusa.joint === undefined) return heads;
      return add(tokenLoss(model, parameters, hidden, { labels, weights }), mul(heads, medusa.joint.weight));
    },
  };
}
