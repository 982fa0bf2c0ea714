/** Window attention over whole sequences: block by block for near positions, sums over groups for the memory. */
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, mul } from '../../../graph/ops/elementwise.ts';
import { concat, split } from '../../../graph/ops/layout.ts';
import { softmax } from '../../../graph/ops/softmax.ts';
import { addConvolution } from '../../convolution.ts';
import { groupQueries, ungroupQueries } from '../../grouping.ts';
import type { BidirectionalInput, SequenceInput } from '../../mixer.ts';
import { blockColumns, maskedScores, type WindowBlocks, windowBlocks } from './blocks.ts';
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
  const { q, far, k, v, scoring } = input;
  const blocks = windowBlocks(config, input, tokens === undefined ? 'past' : 'whole');
  const { grouping } = blocks;
  const products = columnProducts(blocks, k, [mul(q, scoring.scale), far && mul(far, scoring.scale)]);
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

/** Products of queries with the columns of their blocks; the sinks have their own form of the queries: [M,B·N,R·Bk,C]. */
function columnProducts(blocks: WindowBlocks, k: Value, [near, far]: readonly [Value, Value | undefined]): Value {
  const { grouping, sinks } = blocks;
  const product = (q: Value, keys: Value): Value => matmul(groupQueries(grouping, q), keys, { transposeB: true });
  const keys = blockColumns(blocks, k); // [M,B*N,C,D]
  if (far === undefined || sinks === 0) return product(near, keys);
  const [first, others] = split(keys, 2, [sinks, Number(keys.shape[2]) - sinks]);
  return concat([product(far, first), product(near, others)], 3);
}
