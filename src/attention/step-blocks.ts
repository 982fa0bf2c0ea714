/** Common parts of the recurrent forms: blocks of rows, the ring and the tree, and sums of weighted values over them. */
import { internalError } from '../errors.ts';
import type { Value } from '../graph/graph.ts';
import { matmul, sum } from '../graph/ops/contraction.ts';
import { add, addAll, div, exp, maximum, sub } from '../graph/ops/elementwise.ts';
import { max } from '../graph/ops/reduce.ts';
import { gather } from '../graph/ops/indexing.ts';
import { concat, transpose } from '../graph/ops/layout.ts';
import { softmax } from '../graph/ops/softmax.ts';
import { scoreBias } from './attention-mask.ts';
import { filterName } from './convolution-config.ts';
import { filterByOffset } from './convolution.ts';
import type { HeadLayout } from './head-layout.ts';
import type { StepBlock, StepInput, StepMasks } from './mixer.ts';

/** The nodes' own rows [B,T,M,X] as blocks have them: [B,M,T,X]. */
export function nodeRows(rows: Value): Value {
  return transpose(rows, [0, 2, 1, 3]);
}

/**
 * The ring and the tree, whose rows are the nodes' own keys [B,M,T,D] and values [B,M,T,E].
 * @example
 * ```ts
 * declare const input: Parameters<typeof blocksOf>[0];
 * const blocks = blocksOf(input, keys, values);
 * ```
 */
export function blocksOf(
  { ring, treeMasks }: StepInput,
  keys: Value,
  values: Value,
): [ring: StepBlock, tree: StepBlock] {
  return [ring, { keys, values, masks: treeMasks }];
}

/**
 * The rows of all blocks as one block. Copies keys and values: for a ring, which is small, that costs less than the ops
 * that every further block needs; a cache that grows is better read in place.
 */
export function joinBlocks(blocks: readonly StepBlock[]): StepBlock {
  const join = (of: (block: StepBlock) => Value, axis: number): Value => concat(blocks.map(of), axis);
  return {
    keys: join(({ keys }) => keys, 2),
    values: join(({ values }) => values, 2),
    masks: {
      same: join(({ masks }) => masks.same, 3),
      earlier: join(({ masks }) => masks.earlier, 3),
      offsets: join(({ masks }) => masks.offsets, 2),
    },
  };
}

/** Σ over blocks of weights × values: [B,M,R·T,rows] × [B,M,rows,E]. */
export function weightedValues(blocks: readonly StepBlock[], weights: readonly Value[]): Value {
  return addAll(blocks.map((block, i) => matmul(weights[i], block.values)));
}

/** e^(score − the largest) of several lists of scores [B,M,R·T,any], and their sum [B,M,R·T,1]. */
function exponentialsOf(scores: readonly Value[]): { readonly exponentials: readonly Value[]; readonly total: Value } {
  const largest = scores.map((score) => max(score, [-1], true)).reduce((a, b) => maximum(a, b));
  const exponentials = scores.map((score) => exp(sub(score, largest)));
  return { exponentials, total: addAll(exponentials.map((exponential) => sum(exponential, [-1], true))) };
}

/** Softmax over several lists of scores [B,M,R·T,any] with one denominator; over one list one op in place of five. */
export function softmaxOfBlocks(scores: readonly Value[]): Value[] {
  if (scores.length === 1) return [softmax(scores[0])];
  const { exponentials, total } = exponentialsOf(scores);
  return exponentials.map((exponential) => div(exponential, total));
}

/**
 * `weightedValues` by softmax of scores: [B,M,R·T,E]. Sums of values are divided, which are fewer numbers than the weights.
 * A last list of scores, without a block, counts in the denominator alone.
 */
export function softmaxValues(blocks: readonly StepBlock[], scores: readonly Value[]): Value {
  const { exponentials, total } = exponentialsOf(scores);
  return div(weightedValues(blocks, exponentials), total);
}

/**
 * Scores [B,M,R·T,rows] with `maskedScore` where the node does not see the row one by one.
 * @example
 * ```ts
 * declare const block: Parameters<typeof maskScores>[1];
 * const masked = maskScores(scores, block, heads);
 * ```
 */
export function maskScores(scores: Value, { same }: StepMasks, heads: HeadLayout): Value {
  return add(scores, heads.tile(scoreBias(same)));
}

/** The filter weight that every row meets, per query: [B,M,R·T,rows] for each block; undefined without a convolution. */
export function convolutionWeights(
  { parameters, heads, horizon }: Pick<StepInput, 'parameters' | 'heads' | 'horizon'>,
  blocks: readonly StepBlock[],
): Value[] | undefined {
  const filter = parameters[filterName];
  if (filter === undefined) return undefined;
  // Rows of all heads' weights are gathered: single weights, one by one, took 15 times as long.
  const byOffset = transpose(filterByOffset(filter, horizon.reach), [1, 0]); // [P+2,H]
  return blocks.map((block) => heads.perHead(gather(byOffset, block.masks.offsets, 0)));
}

/** `mixed` [B,M,R·T,E] plus the convolution over the blocks, where the mixer has one. */
export function addStepConvolution(mixed: Value | undefined, input: StepInput, blocks: readonly StepBlock[]): Value {
  const weights = convolutionWeights(input, blocks);
  const convolved = weights && weightedValues(blocks, weights);
  if (mixed === undefined) {
    if (convolved === undefined) throw internalError('a mixer without branches');
    return convolved;
  }
  return convolved === undefined ? mixed : add(mixed, convolved);
}
