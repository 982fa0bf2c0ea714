/** Softmax attention inside groups and over the rows of a step, which several kinds are made of. */
import type { Value } from '../graph/graph.ts';
import { add, mul } from '../graph/ops/elementwise.ts';
import { matmul } from '../graph/ops/matmul.ts';
import { softmax } from '../graph/ops/softmax.ts';
import type { AttentionMask } from './attention-mask.ts';
import { groupKeys, groupQueries } from './grouping.ts';
import type { SequenceInput, StepBlock, StepInput } from './mixer.ts';
import { biasedInGroups, biasOfRows } from './scoring.ts';
import { maskScores, softmaxOfBlocks } from './step-blocks.ts';

/** Softmax of q·k·scale over what is visible of the own group, on raw queries and keys. [M,B·N,R·G,E] */
export function softmaxInGroups(mask: AttentionMask, { q, k, v, scoring }: SequenceInput): Value {
  const queries = groupQueries(mask.queries, q);
  const keys = groupKeys(mask.keys, k);
  const products = matmul(mul(queries, scoring.scale), keys, { transposeB: true }); // [M,B*N,R*G,G]
  const scores = add(biasedInGroups(products, scoring, mask.keys), mask.bias(queries));
  return matmul(softmax(scores), groupKeys(mask.keys, v));
}

/** Weights of softmax over the rows that a node sees one by one, in all blocks together: [B,M,R·T,rows] each. */
export function softmaxOfRows(
  { heads, scoring, horizon }: Pick<StepInput, 'heads' | 'scoring' | 'horizon'>,
  blocks: readonly StepBlock[],
): Value[] {
  const queries = heads.join(mul(heads.queries, scoring.scale));
  const { bias } = scoring;
  const scores = blocks.map(({ keys, masks }) => {
    const products = matmul(queries, keys, { transposeB: true });
    const biased = bias === undefined ? products : add(products, biasOfRows(bias, masks.offsets, horizon.reach, heads));
    return maskScores(biased, masks, heads);
  });
  return softmaxOfBlocks(scores);
}
