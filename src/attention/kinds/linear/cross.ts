/**
 * The global branch alone between two texts, which have no groups in common: S = Σ k̂ᵀv of the text that is read, whose size
 * does not depend on its length.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { mul } from '../../../graph/ops/elementwise.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import { unitLength } from '../../../graph/ops/normalization.ts';
import { HeadLayout } from '../../head-layout.ts';
import type { CrossForm } from '../../mixer.ts';
import { boundedLength, scaled } from '../../normalization.ts';
import { nodeRows } from '../../step-blocks.ts';
import type { LinearMixer } from './config.ts';

export const linearCross: CrossForm<LinearMixer> = {
  tensors: (_, { keyValueHeads, headWidth, valueWidth = headWidth }) => ({
    sums: [keyValueHeads, headWidth, valueWidth],
  }),
  memory(_, { k, v, mask }) {
    const [B, m] = mask.shape;
    const keys = mul(nodeRows(unitLength(k)), reshape(mask, [B, 1, m, 1])); // [B,M,m,D]
    return { sums: matmul(keys, nodeRows(v), { transposeA: true }) };
  },
  read(config, q, { sums }, parameters): Value {
    const heads = new HeadLayout(q, Number(sums.shape[1]));
    const read = matmul(heads.join(unitLength(heads.queries)), sums); // [B,M,R*n,E]
    const normalized = config.normalize === null ? read : boundedLength(read);
    return heads.split(scaled(normalized, parameters.global_factor));
  },
};
