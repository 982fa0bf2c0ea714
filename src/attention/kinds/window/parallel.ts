/** Window attention over whole sequences: block by block for what is near, sums over groups for the memory. */
import type { Value } from '../../../graph/graph.ts';
import { add, mul } from '../../../graph/ops/elementwise.ts';
import { concat, split } from '../../../graph/ops/layout.ts';
import { matmul } from '../../../graph/ops/matmul.ts';
import { softmax } from '../../../graph/ops/softmax.ts';
import { addConvolution } from '../../convolution.ts';
import { groupQueries, ungroupQueries } from '../../grouping.ts';
import type { BidirectionalInput, SequenceInput } from '../../mixer.ts';
import { blockColumns, maskedScores, windowBlocks } from './blocks.ts';
import type { WindowMixer } from './config.ts';
import { rememberedRow } from './memory.ts';

/** The causal form: [B,n,H,E]. */
export function windowParallel(config: WindowMixer, input: SequenceInput): Value {
  const { mixed, grouping } = attend(config, input, undefined);
  return addConvolution(config.convolution, mixed, grouping, input.v, input.parameters);
}

/** The form of encoders, whose windows reach as far ahead as back, without the convolution: [B,n,H,E]. */
export function windowOfWhole(config: WindowMixer, input: BidirectionalInput): Value {
  return attend(config, input, input.mask).mixed;
}

function attend(config: WindowMixer, input: SequenceInput, tokens: Value | undefined) {
  const { q, k, v, scoring } = input;
  const blocks = windowBlocks(config, input, tokens === undefined ? 'past' : 'whole');
  const { grouping } = blocks;
  const queries = groupQueries(grouping, mul(q, scoring.scale)); // [M,B*N,R*Bk,D]
  const products = matmul(queries, blockColumns(blocks, k), { transposeB: true }); // [M,B*N,R*Bk,C]
  const scores = maskedScores(config, blocks, products, scoring, tokens);
  const values = blockColumns(blocks, v); // [M,B*N,C,E]
  const remembered = rememberedRow(config, input, grouping, tokens);
  if (remembered === undefined) {
    return { mixed: ungroupQueries(grouping, matmul(softmax(scores), values)), grouping };
  }
  const C = blocks.columns[0].length;
  const [near, older] = split(softmax(concat([scores, remembered.score], 3)), 3, [C, 1]);
  const mixed = add(matmul(near, values), mul(older, remembered.value));
  return { mixed: ungroupQueries(grouping, mixed), grouping };
}
