/**
 * Where the rows of a step lie in the blocks of Linformer, and which blocks a node has behind it. Counted from the first
 * block that has not closed within the committed text, so that the N blocks of a step are those that may close in its
 * trees.
 */
import { exactRule, type SequenceStep } from './masks.ts';

/** Places of one block of rows, the ring's or the tree's, of B sequences. */
export interface RowPlaces {
  /** 0…G−1 [B,rows]: position within the block. */
  readonly offsets: Int32Array;
  /** 1 or 0 [B,rows,N]: whether the row lies in the c-th block. */
  readonly member: Float32Array;
}

export interface BlockPlaces {
  /** N, at least 1. */
  readonly count: number;
  /** 1 or 0 [B,T,N]: whether the node lies behind the c-th block, which so has closed. */
  readonly closed: Float32Array;
  readonly ring: RowPlaces;
  readonly tree: RowPlaces;
}

/**
 * The places of one step.
 *
 * @param steps one per sequence, with rings of C slots
 * @param nodes T
 * @param block G
 */
export function blockPlaces(
  steps: readonly SequenceStep[],
  nodes: number,
  ringSlots: number,
  block: number,
): BlockPlaces {
  const blockOf = (position: number): number => Math.floor(position / block);
  const count = steps.reduce(
    (most, { committed, tree }) => Math.max(most, blockOf(committed + tree.height) - blockOf(committed)),
    1,
  );
  const rowPlaces = (rows: number): RowPlaces => ({
    offsets: new Int32Array(steps.length * rows),
    member: new Float32Array(steps.length * rows * count),
  });
  const places = {
    count,
    closed: new Float32Array(steps.length * nodes * count),
    ring: rowPlaces(ringSlots),
    tree: rowPlaces(nodes),
  };
  const put = ({ offsets, member }: RowPlaces, row: number, position: number, first: number): void => {
    const index = blockOf(position) - first;
    if (index < 0 || index >= count) return;
    offsets[row] = position % block;
    member[row * count + index] = 1;
  };
  steps.forEach(({ slotPositions, tree, committed, rule = exactRule }, b) => {
    const first = blockOf(committed);
    slotPositions.forEach((position, slot) => {
      if (position >= 0 && position < committed) put(places.ring, b * ringSlots + slot, position, first);
    });
    tree.depths.forEach((depth, node) => {
      const row = b * nodes + node;
      put(places.tree, row, committed + depth, first);
      const behind = rule.global === 'exact' ? blockOf(committed + depth) - first : 0;
      places.closed.fill(1, row * count, row * count + behind);
    });
  });
  return places;
}
