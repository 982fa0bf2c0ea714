/** What the nodes of the step form read: blocks of rows, their masks, and the state of the committed prefix. */
import type { Value } from '../graph/graph.ts';
import { addAll } from '../graph/ops/elementwise.ts';
import { gather } from '../graph/ops/indexing.ts';
import { concat, transpose } from '../graph/ops/layout.ts';
import { matmul } from '../graph/ops/matmul.ts';
import { tapsByLag } from './convolution.ts';
import type { HeadLayout } from './head-layout.ts';

/** Masks and lags of one block of rows (the ring or the tree), for all B·T nodes. */
export interface StepMasks {
  /** float32 0/1 [B,1,T,rows]: the row is an ancestor (or the node) in the node's own group. */
  readonly same: Value;
  /** float32 0/1 [B,1,T,rows]: the row is an ancestor in an earlier group that is not yet in S. */
  readonly earlier: Value;
  /** int32 [B,T,rows]: lag τ in 0…P, or P + 1 for rows that are not seen or farther; P is the horizon's reach. */
  readonly lags: Value;
}

/** What a layer remembers of the committed prefix. */
export interface StepState {
  /** [B,M,C,D] keys of the last C positions, as `StepResult.keys` are; slots in any order. */
  readonly keys: Value;
  /** [B,M,C,E] values of the same positions. */
  readonly values: Value;
  /** S [B,M,X,E]: the sum of k̂ᵀv (or φ(k)ᵀv) over closed groups; only for a mixer that has sums. */
  readonly sums?: Value;
  /** Only for Linformer by blocks. */
  readonly memory?: ProjectedMemory;
}

/** Where the rows of a block of rows lie in the blocks that Linformer projects: see `block-places.ts`. */
export interface PlacesInBlocks {
  /** int32 [B,rows]: position within the block. */
  readonly offsets: Value;
  /** float32 0/1 [B,rows,N]: the row lies in the c-th block. */
  readonly member: Value;
}

/** What Linformer by blocks remembers of closed blocks, and where the rows that are not projected yet belong. */
export interface ProjectedMemory {
  /** [B,M,S,D] projected keys of the blocks that closed within the committed prefix. */
  readonly keys: Value;
  /** [B,M,S,E] */
  readonly values: Value;
  /** float32 0/1 [B,1,1,S]: rows in use. */
  readonly held: Value;
  /** float32 0/1 [B,1,T,N]: the node lies behind the c-th of the blocks that may close in the tree. */
  readonly closed: Value;
  readonly ring: PlacesInBlocks;
  readonly tree: PlacesInBlocks;
}

/** A block of rows with its scores' ingredients. */
export interface Block {
  readonly keys: Value; // [B,M,rows,D]
  readonly values: Value; // [B,M,rows,E]
  readonly masks: StepMasks;
}

/**
 * The rows of all blocks as one block. Copies keys and values: for a ring, which is small, that costs less than the ops
 * that every further block needs; a cache that grows is better read in place.
 */
export function joinBlocks(blocks: readonly Block[]): Block {
  const masks = (of: (masks: StepMasks) => Value, axis: number): Value =>
    concat(
      blocks.map((block) => of(block.masks)),
      axis,
    );
  return {
    keys: concat(
      blocks.map(({ keys }) => keys),
      2,
    ),
    values: concat(
      blocks.map(({ values }) => values),
      2,
    ),
    masks: {
      same: masks(({ same }) => same, 3),
      earlier: masks(({ earlier }) => earlier, 3),
      lags: masks(({ lags }) => lags, 2),
    },
  };
}

/** Σ over blocks of weights × values: [B,M,R·T,rows] × [B,M,rows,E]. */
export function weightedValues(blocks: readonly Block[], weights: readonly Value[]): Value {
  return addAll(blocks.map((block, i) => matmul(weights[i], block.values)));
}

/**
 * The tap that every row meets, per query: [B,M,R·T,rows] for each block.
 * @param reach of the lags; default that of the taps
 */
export function convolutionWeights(blocks: readonly Block[], taps: Value, heads: HeadLayout, reach?: number): Value[] {
  // Rows of all heads' taps are gathered: single taps, one by one, took 15 times as long.
  const byLag = transpose(tapsByLag(taps, reach), [1, 0]); // [P+2,H]
  return blocks.map((block) => heads.perHead(gather(byLag, block.masks.lags, 0)));
}
