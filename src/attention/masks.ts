/**
 * What the nodes of a token tree see in one step: masks and convolution lags over the rows of the ring (the last C
 * committed positions) and over the rows of the tree itself. Filled on the host before every step, into buffers that
 * are made once.
 *
 * Node a stands at position p_a = L + depth_a, where L is the committed length, and belongs to group ⌊p_a/G⌋. A row it
 * can see, at position p, is
 *
 * - `same` if ⌊p/G⌋ = ⌊p_a/G⌋;
 * - `earlier` if ⌊p/G⌋ < ⌊p_a/G⌋ and its group is not folded into S yet. The folded groups are those that closed within
 *   the committed text, (g+1)·G ≤ L: S answers for their rows, which stay in the ring for the convolution only;
 * - at lag p_a − p if that is within the reach P of the convolution; all other rows are given lag P+1, a zero tap.
 *
 * A node sees every committed position, and of the tree its ancestors and itself. Since each row is judged by the group
 * of the node that looks, trees that cross group boundaries, any number of them, are exact.
 */
import { LinnetError } from '../errors.ts';
import { convolutionOf, convolutionReach, groupOf, type MixerConfig } from './mixer.ts';
import type { TokenTree } from './tree.ts';

/** Slot position of a ring slot that holds nothing. */
export const emptySlot = -1;

/** How far a mixer's branches see. */
export interface Horizon {
  /** G; infinite for softmax attention and YOSO's expectation, whose one group never ends. */
  readonly group: number;
  /** P = (K−1)/2; −1 without a convolution, so that not even lag 0 is in reach. */
  readonly reach: number;
}

/** The group and reach of a mixer. Layers of equal horizon can share masks. */
export function horizonOf(config: MixerConfig): Horizon {
  const convolution = convolutionOf(config);
  return { group: groupOf(config), reach: convolution === null ? -1 : convolutionReach(convolution.kernel) };
}

/** Masks over one block of rows, for B sequences of T nodes. */
export interface MaskBlock {
  /** Rows per sequence: C for the ring, T for the tree. */
  readonly rows: number;
  /** 1 or 0 [B,T,rows]. */
  readonly same: Float32Array;
  /** 1 or 0 [B,T,rows]. */
  readonly earlier: Float32Array;
  /** 0…P, or P+1 where the convolution does not reach [B,T,rows]. */
  readonly lags: Int32Array;
}

/** Buffers for the masks of one step, used again for every step of the same sizes. */
export interface MaskBuffers {
  readonly batch: number;
  readonly nodes: number;
  readonly ring: MaskBlock;
  readonly tree: MaskBlock;
}

/** Allocates masks for B sequences, trees of up to T nodes and a ring of C slots. */
export function makeMaskBuffers(batch: number, nodes: number, ringSlots: number): MaskBuffers {
  const block = (rows: number): MaskBlock => ({
    rows,
    same: new Float32Array(batch * nodes * rows),
    earlier: new Float32Array(batch * nodes * rows),
    lags: new Int32Array(batch * nodes * rows),
  });
  return { batch, nodes, ring: block(ringSlots), tree: block(nodes) };
}

/** One sequence's part in a step. */
export interface SequenceStep {
  /** Position held by each slot of the ring [C]; −1 (`emptySlot`) for none. */
  readonly slotPositions: Int32Array;
  /** The nodes to read, at most T. */
  readonly tree: TokenTree;
  /** L: committed positions, those before the tree. */
  readonly committed: number;
}

/**
 * Fills the masks of sequence `sequence` of the batch, over whatever the buffers held. Allocates nothing.
 *
 * Nodes beyond the tree's size are padding: they see themselves alone, so that a softmax over their rows stays finite,
 * and nobody sees them. Slots at positions from L on are not committed, and count as empty.
 *
 * @throws LinnetError `SHAPE` if the sequence, its tree or its ring does not fit the buffers; `INPUT` for an L that is
 *   not a whole number.
 */
export function fillMasks(buffers: MaskBuffers, sequence: number, step: SequenceStep, horizon: Horizon): void {
  const { batch, nodes, ring, tree: treeBlock } = buffers;
  const { slotPositions, tree, committed } = step;
  if (!Number.isInteger(sequence) || sequence < 0 || sequence >= batch) {
    throw new LinnetError('SHAPE', `there is no sequence ${sequence} in masks for ${batch}`);
  }
  if (tree.size > nodes) throw new LinnetError('SHAPE', `a tree of ${tree.size} nodes does not fit masks for ${nodes}`);
  if (slotPositions.length !== ring.rows) {
    throw new LinnetError('SHAPE', `a ring of ${slotPositions.length} slots does not fit masks for ${ring.rows}`);
  }
  if (!Number.isSafeInteger(committed) || committed < 0) {
    throw new LinnetError('INPUT', `the committed length must be a whole number from 0, got ${committed}`);
  }
  for (let node = 0; node < nodes; node++) {
    const row = sequence * nodes + node;
    if (node < tree.size) {
      fillRingRow(ring, row, slotPositions, committed, tree.depths[node], horizon);
      fillTreeRow(treeBlock, row, tree, committed, node, horizon);
    } else {
      clearRow(ring, row, horizon);
      clearRow(treeBlock, row, horizon);
      treeBlock.same[row * treeBlock.rows + node] = 1;
    }
  }
}

/** First position of the group of `position`. */
function groupStart(position: number, group: number): number {
  return group === Number.POSITIVE_INFINITY ? 0 : position - (position % group);
}

function clearRow(block: MaskBlock, row: number, horizon: Horizon): void {
  const start = row * block.rows;
  block.same.fill(0, start, start + block.rows);
  block.earlier.fill(0, start, start + block.rows);
  block.lags.fill(horizon.reach + 1, start, start + block.rows);
}

function fillRingRow(
  block: MaskBlock,
  row: number,
  slotPositions: Int32Array,
  committed: number,
  depth: number,
  { group, reach }: Horizon,
): void {
  const position = committed + depth;
  const ownStart = groupStart(position, group);
  const folded = groupStart(committed, group);
  const start = row * block.rows;
  for (let slot = 0; slot < slotPositions.length; slot++) {
    const at = slotPositions[slot];
    const held = at >= 0 && at < committed;
    block.same[start + slot] = held && at >= ownStart ? 1 : 0;
    block.earlier[start + slot] = held && at < ownStart && at >= folded ? 1 : 0;
    block.lags[start + slot] = held && position - at <= reach ? position - at : reach + 1;
  }
}

function fillTreeRow(
  block: MaskBlock,
  row: number,
  tree: TokenTree,
  committed: number,
  node: number,
  { group, reach }: Horizon,
): void {
  const depth = tree.depths[node];
  // In depths, as the rows of the tree are given: L + depth ≥ start of the group.
  const ownStart = groupStart(committed + depth, group) - committed;
  const start = row * block.rows;
  for (let column = 0; column < block.rows; column++) {
    const seen = tree.isAncestorOrSelf(node, column);
    const lag = seen ? depth - tree.depths[column] : 0;
    const inGroup = seen && tree.depths[column] >= ownStart;
    block.same[start + column] = inGroup ? 1 : 0;
    block.earlier[start + column] = seen && !inGroup ? 1 : 0;
    block.lags[start + column] = seen && lag <= reach ? lag : reach + 1;
  }
}
