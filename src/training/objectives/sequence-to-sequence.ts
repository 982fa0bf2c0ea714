/** Training an encoder and decoder to generate a target for a source. */
import { type PairLengths, pairInputs } from '../../data/datasets/sequence-pairs.ts';
import type { EncoderDecoderModel } from '../../models/model.ts';
import type { LabelOptions } from './label-loss.ts';
import { type Objective, tokenLoss } from './next-token.ts';

/** Rows as `PairDataset` has them: the decoder reads the target up to each token that it must predict. */
export function sequenceObjective(model: EncoderDecoderModel, lengths: PairLengths, options?: LabelOptions): Objective {
  return {
    inputs: pairInputs(lengths),
    loss(parameters, { source, sourceMask, inputs, labels, weights }) {
      const encoded = model.encode(parameters, { tokens: source, mask: sourceMask }); // [B,n,width]
      const hidden = model.decode(parameters, { tokens: inputs, encoded, encodedMask: sourceMask }); // [B,m,width]
      return tokenLoss(model, parameters, hidden, { labels, weights }, options);
    },
  };
}
