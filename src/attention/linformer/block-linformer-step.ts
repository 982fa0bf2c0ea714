/**
 * Linformer by blocks over token trees. Closed blocks of the committed prefix are projected rows of the memory. A block
 * that closes among the nodes of the tree, made of committed rows and a node's ancestors, is projected on the fly: with
 * A = q·kᵀ over the rows that are not projected yet, `earlier` the mask of a node's ancestors in closed blocks, and P
 * the matrix [rows, N·r] that says by what E or F weighs a row in each projected row of its block,
 *
 *     scores of projected rows = (A ∘ earlier)·P_E,      weights of rows = (weights of projected rows · P_Fᵀ) ∘ earlier.
 *
 * P is the same for all nodes, since a row's place in its block depends on its position alone: so trees that close any
 * number of blocks are exact, without a projection per node.
 */
import type { Value } from '../../graph/graph.ts';
import { add, addAll, div, maximum, mul, sub } from '../../graph/ops/elementwise.ts';
import { gather } from '../../graph/ops/indexing.ts';
import { concat, reshape, transpose } from '../../graph/ops/layout.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { max, sum } from '../../graph/ops/reduce.ts';
import { exp } from '../../graph/ops/unary.ts';
import { multiplyDims } from '../../graph/shape.ts';
import type { HeadLayout } from '../head-layout.ts';
import type { BlockLinformerMixer } from '../mixer.ts';
import type { MixerParameterValues } from '../mixer-values.ts';
import { hiddenScore } from '../sight.ts';
import {
  type Block,
  convolutionWeights,
  type PlacesInBlocks,
  type ProjectedMemory,
  weightedValues,
} from '../step-blocks.ts';
import { blockProjections, ones } from './block-linformer.ts';

/**
 * [B,M,R·T,E]
 * @param blocks the ring and the tree, with raw keys
 */
export function blockLinformerStep(
  { rows: r }: BlockLinformerMixer,
  blocks: readonly Block[],
  heads: HeadLayout,
  memory: ProjectedMemory,
  parameters: MixerParameterValues,
): Value {
  const width = Number(heads.queries.shape[4]);
  const queries = heads.join(mul(heads.queries, 1 / Math.sqrt(width)));
  const projections = blockProjections(parameters);
  const hiddenUnless = (visible: Value): Value => mul(sub(1, visible), hiddenScore);
  const earlier = blocks.map(({ masks }) => heads.tile(masks.earlier)); // [B,1,R*T,rows]
  const places = [memory.ring, memory.tree];

  const exact = blocks.map(({ keys }) => matmul(queries, keys, { transposeB: true })); // [B,M,R*T,rows]
  const ofMemory = add(matmul(queries, memory.keys, { transposeB: true }), hiddenUnless(memory.held)); // [B,M,R*T,S]
  const ofClosing = addAll(
    exact.map((score, i) => matmul(mul(score, earlier[i]), spreadWeights(projections.keys, places[i], r))),
  ); // [B,M,R*T,N*r]
  const scores = [
    ofMemory,
    add(ofClosing, heads.tile(hiddenUnless(repeatBlocks(memory.closed, r)))),
    ...exact.map((score, i) => add(score, heads.tile(hiddenUnless(blocks[i].masks.same)))),
  ];
  const largest = scores.map((score) => max(score, [-1], true)).reduce((a, b) => maximum(a, b));
  const powers = scores.map((score) => exp(sub(score, largest)));
  const total = addAll(powers.map((power) => sum(power, [-1], true)));
  const [memoryWeights, closingWeights, ...exactWeights] = powers.map((power) => div(power, total));

  const taps = parameters['dwconv.weight'];
  const convolution = taps === undefined ? undefined : convolutionWeights(blocks, taps, heads);
  const rowWeights = exactWeights.map((weights, i) => {
    const spread = matmul(closingWeights, spreadWeights(projections.values, places[i], r), { transposeB: true });
    const attended = add(weights, mul(spread, earlier[i]));
    return convolution === undefined ? attended : add(attended, convolution[i]);
  });
  return add(matmul(memoryWeights, memory.values), weightedValues(blocks, rowWeights));
}

/** P [B,1,rows,N·r]: the weight of a row in the r projected rows of its block, zero in those of other blocks. */
function spreadWeights(projection: Value, { offsets, member }: PlacesInBlocks, r: number): Value {
  const [B, rows, N] = member.shape;
  const weights = gather(transpose(projection, [1, 0]), offsets); // [B,rows,r]
  const spread = mul(reshape(member, [B, rows, N, 1]), reshape(weights, [B, rows, 1, r]));
  const width = multiplyDims(N, r);
  return reshape(reshape(spread, [B, rows, width]), [B, 1, rows, width]);
}

/** [B,1,T,N] → [B,1,T,N·r], each number r times. */
function repeatBlocks(closed: Value, r: number): Value {
  const [B, , T, N] = closed.shape;
  const repeated = mul(reshape(closed, [B, T, N, 1]), ones(closed, r)); // [B,T,N,r]
  const width = multiplyDims(N, r);
  return reshape(reshape(repeated, [B, T, width]), [B, 1, T, width]);
}

/**
 * The projected rows of blocks that have closed, keys and values side by side.
 *
 * @param keys [M,N,G,D] raw
 * @param values [M,N,G,E]
 * @returns [M,N,r,D+E]
 */
export function projectBlocks(keys: Value, values: Value, parameters: MixerParameterValues): Value {
  const projections = blockProjections(parameters);
  return concat([matmul(projections.keys, keys), matmul(projections.values, values)], 3);
}
