/** Common parts of the recurrent forms: blocks of rows, ring and tree, and sums of weighted values over them. */
import { internalError } from '../errors.ts';
import type { Value } from '../graph/graph.ts';
import { matmul, sum } from '../graph/ops/contraction.ts';
import { add, addAll, div, exp, maximum, mul, sub } from '../graph/ops/elementwise.ts';
import { softmax } from '../graph/ops/normalization.ts';
import { max } from '../graph/ops/reduce.ts';
import { gather } from '../graph/ops/indexing.ts';
import { concat, reshape, slice, transpose } from '../graph/ops/layout.ts';
import type { Dim } from '../graph/tensor.ts';
import { scoreBias } from './attention-mask.ts';
import { filterName } from './convolution-config.ts';
import { filterByOffset } from './convolution.ts';
import type { HeadLayout } from './head-layout.ts';
import type { OpenRows, StepBlock, StepInput, StepMasks } from './mixer.ts';

/** The nodes' own rows in the layout of blocks: [B,T,M,X] → [B,M,T,X]. */
export function nodeRows(rows: Value): Value {
  return transpose(rows, [0, 2, 1, 3]);
}

/** Blocks of rows that nodes read. */
export interface StepBlocks {
  /** Undefined if all its rows are open. */
  readonly ring: StepBlock | undefined;
  /** The open rows, then the tree's. */
  readonly tree: StepBlock;
  /** Both, the ring first; only the tree if the ring is not read. */
  readonly all: readonly StepBlock[];
}

/**
 * The ring and the tree. The tree's rows are the open rows, then the nodes' own keys [B,M,T,D] and values [B,M,T,E].
 * @example
 * ```ts
 * declare const input: Parameters<typeof blocksOf>[0];
 * const { all } = blocksOf(input, keys, values);
 * ```
 */
export function blocksOf({ ring, treeMasks, open }: StepInput, keys: Value, values: Value): StepBlocks {
  const behind = (part: 'keys' | 'values', own: Value): Value =>
    open === undefined ? own : concat([open[part], own], own.rank - 2);
  const tree = {
    keys: behind('keys', keys),
    values: behind('values', inPartsOf(ring.values, values)),
    masks: treeMasks,
  };
  return open?.whole === true ? { ring: undefined, tree, all: [tree] } : { ring, tree, all: [ring, tree] };
}

/** Splits rows [B,M,T,E] into the other rows' parts, [B,M,P,T,E/P], if those have parts. */
function inPartsOf({ shape }: Value, rows: Value): Value {
  if (shape.length < 5) return rows;
  const [B, M, T] = rows.shape;
  return transpose(reshape(rows, [B, M, T, shape[2], shape[4]]), [0, 1, 3, 2, 4]);
}

/** The nodes' own keys [B,M,T,D] and values [B,M,T,E], and the blocks that the nodes read. */
export function nodeBlocks(input: StepInput) {
  const [keys, values] = [nodeRows(input.k), nodeRows(input.v)];
  return { keys, values, ...blocksOf(input, keys, values) };
}

/**
 * The rows of all blocks as one block. Copies keys and values: for a small ring that costs less than the ops each further
 * block needs; a growing cache is better read in place.
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

/** e^(score − the largest) of several lists of scores [B,M,R·T,any]. */
function exponentialsOf(scores: readonly Value[]): Value[] {
  const largest = scores.map((score) => max(score, [-1], true)).reduce((a, b) => maximum(a, b));
  return scores.map((score) => exp(sub(score, largest)));
}

/** Sums the columns of weights [B,M,R·T,any]: [B,M,R·T,1]. */
function columnSum(weights: Value): Value {
  return sum(weights, [-1], true);
}

/**
 * `columnSum` of each block's weights, [B,M,R·T,1] each. Over open rows a product sums columns in order, so that columns of
 * zeros in between change no bit; a reduction sums in lanes, where they would.
 * @param width repeats the sum in this many columns if a product computes it. Default 1
 */
export function orderedSums({ onesOfRing, ones }: OpenRows, weights: readonly Value[], width = 1): Value[] {
  const last = weights.length - 1;
  return weights.map((each, i) => {
    const factor = i === last ? ones : onesOfRing;
    if (factor === undefined) return columnSum(each);
    const product = matmul(each, factor);
    return factor.shape[3] === width ? product : slice(product, 3, 0, 1);
  });
}

/** Softmax over several lists of scores [B,M,R·T,any] with one denominator; a single list takes one op instead of five. */
export function softmaxOfBlocks(scores: readonly Value[]): Value[] {
  if (scores.length === 1) return [softmax(scores[0])];
  const exponentials = exponentialsOf(scores);
  const total = addAll(exponentials.map(columnSum));
  return exponentials.map((exponential) => div(exponential, total));
}

/**
 * `softmaxOfBlocks` over blocks' rows and over lists of scores without a block; with open rows, the denominators are
 * `orderedSums`.
 */
export function softmaxOverRows({ open }: StepInput, blocks: readonly StepBlock[], scores: readonly Value[]): Value[] {
  if (open === undefined) return softmaxOfBlocks(scores);
  const exponentials = exponentialsOf(scores);
  const total = addAll([
    ...orderedSums(open, exponentials.slice(0, blocks.length)),
    ...exponentials.slice(blocks.length).map(columnSum),
  ]);
  return exponentials.map((exponential) => div(exponential, total));
}

/** A column of scores besides the rows': its score [B,M,R·T,1], and its value [B,M,R·T,E], if any. */
export interface ScoredColumn {
  readonly score: Value;
  readonly value?: Value;
}

/**
 * `weightedValues` with the softmax of scores: [B,M,R·T,E]. Divides the sums, which are fewer numbers than the weights.
 * @param columns further columns: all count in the denominator, those with values also in the sum
 */
export function softmaxValues(
  { open }: Pick<StepInput, 'open'>,
  blocks: readonly StepBlock[],
  scores: readonly Value[],
  columns: readonly ScoredColumn[] = [],
): Value {
  const { shape } = blocks[0].values;
  const width = Number(shape.at(-1));
  const inParts = ({ shape: [B, M, rows, any] }: Value): Dim[] => [B, M, 1, rows, any];
  const all = exponentialsOf([...scores, ...columns.map(({ score }) => score)]);
  const exponentials = shape.length < 5 ? all : all.map((each) => reshape(each, inParts(each)));
  const [ofRows, others] = [exponentials.slice(0, blocks.length), exponentials.slice(blocks.length)];
  const sums = open === undefined ? ofRows.map(columnSum) : orderedSums(open, ofRows, width);
  const apart = columns.flatMap(({ value }, i) => (value === undefined ? [] : [mul(value, others[i])]));
  const mixed = div(addAll([weightedValues(blocks, ofRows), ...apart]), addAll([...sums, ...others]));
  if (shape.length < 5) return mixed;
  const [B, M, P, rows] = mixed.shape;
  return reshape(transpose(mixed, [0, 1, 3, 2, 4]), [B, M, rows, Number(P) * width]);
}

/**
 * Scores [B,M,R·T,rows] with `maskedScore` for rows that the node does not see one by one.
 * @example
 * ```ts
 * declare const block: Parameters<typeof maskScores>[1];
 * const masked = maskScores(scores, block, heads);
 * ```
 */
export function maskScores(scores: Value, { same }: StepMasks, heads: HeadLayout): Value {
  return add(scores, heads.tile(scoreBias(same)));
}

/**
 * The filter weight on every row, per query: [B,M,R·T,rows] for each block; undefined without a convolution. One node
 * gathers the weights of all layers with the same offsets, then cuts them into layers: in a short step a node costs more
 * than its numbers.
 */
export function convolutionWeights(
  { parameters, heads, horizon, filters }: Pick<StepInput, 'parameters' | 'heads' | 'horizon' | 'filters'>,
  blocks: readonly StepBlock[],
): Value[] | undefined {
  const filter = parameters[filterName];
  if (filter === undefined) return undefined;
  const { all, place } = filters ?? { all: [filter], place: 0 };
  // Gathers rows of all heads' weights: gathering single weights took 15 times as long.
  const byOffset = concat(
    all.map((each) => transpose(filterByOffset(each, horizon.reach), [1, 0])),
    1,
  ); // [P+2,L·H]
  return blocks.map((block) => heads.perHead(gather(byOffset, block.masks.offsets, 0), all.length)[place]);
}

/** `mixed` [B,M,R·T,E] plus the convolution over the blocks, if the mixer has one. */
export function addStepConvolution(mixed: Value | undefined, input: StepInput, blocks: readonly StepBlock[]): Value {
  const weights = convolutionWeights(input, blocks);
  const convolved = weights && weightedValues(blocks, weights);
  if (mixed === undefined) {
    if (convolved === undefined) throw internalError('a mixer without branches');
    return convolved;
  }
  return convolved === undefined ? mixed : add(mixed, convolved);
}
