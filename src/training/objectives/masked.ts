/** Training an encoder to predict masked tokens. */
import { maskedInputs } from '../../data/datasets/masked.ts';
import type { EncoderModel } from '../../models/model.ts';
import type { LabelOptions } from './label-loss.ts';
import { type Objective, tokenLoss } from './next-token.ts';

/** Rows as `MaskedDataset` has them. */
export function maskedObjective(model: EncoderModel, length: number, options?: LabelOptions): Objective {
  return {
    inputs: maskedInputs(length),
    loss(source, { tokens, mask, labels, weights }) {
      const hidden = model.encode(source, { tokens, mask }); // [B,n,width]
      return tokenLoss(model, source, hidden, { labels, weights }, options);
    },
  };
}
