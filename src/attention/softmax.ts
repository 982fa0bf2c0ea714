/** Softmax attention inside groups and over the rows of a step, which several kinds are made of. */
import type { Value } from '../graph/graph.ts';
import { add } from '../graph/ops/elementwise.ts';
import { matmul } from '../graph/ops/matmul.ts';
import { softmax } from '../graph/ops/softmax.ts';
import type { AttentionMask } from './attention-mask.ts';
import { groupKeys } from './grouping.ts';
import type { SequenceInput, StepBlock, StepInput } from './mixer.ts';
import { scoresInGroups, scoresOfRows } from './scoring.ts';
import { maskScores, softmaxOfBlocks } from './step-blocks.ts';

/** Softmax of q·k·scale over what is visible of the own group, on raw queries and keys. [M,B·N,R·G,E] */
export function softmaxInGroups(mask: AttentionMask, input: SequenceInput): Value {
  const scores = scoresInGroups(mask, input);
  return matmul(softmax(add(scores, mask.bias(scores))), groupKeys(mask.keys, input.v));
}

/** Weights of softmax over the rows that a node sees one by one, in all blocks together: [B,M,R·T,rows] each. */
export function softmaxOfRows(
  input: Pick<StepInput, 'heads' | 'scoring' | 'horizon'>,
  blocks: readonly StepBlock[],
): Value[] {
  const scores = scoresOfRows(input, blocks);
  return softmaxOfBlocks(scores.map((score, i) => maskScores(score, blocks[i].masks, input.heads)));
}
