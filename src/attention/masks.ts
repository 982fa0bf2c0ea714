/**
 * Visibility between the nodes of a token tree in one step: masks and offsets over the rows of the ring (the last C committed
 * positions) and over the rows of the tree itself. Filled on the host before every step, into buffers that are made once.
 *
 * Node a is at position p_a = L + depth_a, where L is the committed length, and belongs to group ⌊p_a/G⌋. Its window begins
 * with group ⌊p_a/G⌋ − W + 1; in most mixers W = 1, and the window is the own group. A row it can see, at position p, is
 *
 * - `same` if it is in the window, or one of the sinks: ⌊p/G⌋ > ⌊p_a/G⌋ − W, or p < s;
 * - `earlier` if it is older and not folded into S yet. The folded groups have left the window of all positions that may
 *   still be read, g + W ≤ ⌊L/G⌋: S contains their rows, which stay in the ring for the convolution only;
 * - at offset p_a − p if that is within the reach P of distance-dependent terms; all other rows are given offset P+1,
 *   whose filter weight is zero.
 *
 * A node sees every committed position, and its ancestors and itself in the tree. Since each row is judged by the group of
 * the reading node, trees that cross any number of group boundaries are exact.
 */
import { LinnetError } from '../errors.ts';
import type { Horizon } from './attention-layer.ts';
import type { TokenTree } from './tree.ts';

/** Slot position of a ring slot that holds nothing. */
export const emptySlot = -1;

/**
 * How studies let the nodes of a tree see the text and each other otherwise than exactly. A part left out is exact: trees then
 * give the results of sequential decoding, since each node meets its ancestors by their offsets (paper, figure 8).
 */
export interface TreeRule {
  /** Whether nodes beyond a group boundary see the groups that have closed since the text was folded. Default true. */
  readonly seesClosedGroups?: boolean;
  /** How many positions after the root's the convolution takes a node to be. Default: its depth. */
  depth?(tree: TokenTree, node: number): number;
  /**
   * Offset from a node to a column of the tree's rows, padding included; negative where the convolution does not look. Default: the
   * difference of depths from ancestors and the node itself.
   */
  offset?(tree: TokenTree, node: number, column: number): number;
}

/** Masks over one block of rows, for B sequences of T nodes. */
export interface MaskBlock {
  /** Rows per sequence: C for the ring, T for the tree, after U open rows. */
  readonly rows: number;
  /** 1 or 0 [B,T,rows]. */
  readonly same: Float32Array;
  /** 1 or 0 [B,T,rows]. */
  readonly earlier: Float32Array;
  /** 0…P, or P+1 where the convolution does not reach [B,T,rows]. */
  readonly offsets: Int32Array;
}

/** Buffers for the masks of one step, used again for every step of the same sizes. */
export interface MaskBuffers {
  readonly batch: number;
  readonly nodes: number;
  readonly ring: MaskBlock;
  readonly tree: MaskBlock;
}

/** Allocates masks for B sequences, trees of up to T nodes, a ring of C slots and U open rows. */
export function makeMaskBuffers(batch: number, nodes: number, ringSlots: number, open = 0): MaskBuffers {
  const block = (rows: number): MaskBlock => ({
    rows,
    same: new Float32Array(batch * nodes * rows),
    earlier: new Float32Array(batch * nodes * rows),
    offsets: new Int32Array(batch * nodes * rows),
  });
  return { batch, nodes, ring: block(ringSlots), tree: block(open + nodes) };
}

/** The nodes that a step reads of one sequence, at most T. */
export interface TreeView {
  readonly tree: TokenTree;
  /** By which rule the nodes see the text and each other. Default: exactly; others are for studies. */
  readonly rule?: TreeRule;
}

/** Rows of the ring that are read with the tree's: see `OpenRows`. */
export interface OpenPositions {
  /** Position of every open row [U], ascending; −1 (`emptySlot`) behind them. */
  readonly positions: Int32Array;
  /** The first position whose row the ring hides. */
  readonly from: number;
}

/** U: open rows of the sequences of a step, all of which have as many. */
export function openCount(steps: readonly SequenceStep[]): number {
  return steps.at(0)?.open?.positions.length ?? 0;
}

/** One sequence's part in a step. */
export interface SequenceStep extends TreeView {
  /** Its open rows. Default: none. */
  readonly open?: OpenPositions;
  /** Position held by each slot of the ring [C]; −1 (`emptySlot`) for none. */
  readonly slotPositions: Int32Array;
  /** L: committed positions, before the tree. */
  readonly committed: number;
}

/**
 * Fills the masks of sequence `sequence` of the batch, overwriting the buffers. Allocates nothing.
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
  const { group, window } = horizon;
  const view = { horizon, window: { group, window }, rule: step.rule };
  if (!Number.isInteger(sequence) || sequence < 0 || sequence >= batch) {
    throw new LinnetError('SHAPE', `there is no sequence ${sequence} in masks for ${batch}`);
  }
  if (tree.size > nodes) throw new LinnetError('SHAPE', `a tree of ${tree.size} nodes does not fit masks for ${nodes}`);
  if (slotPositions.length !== ring.rows) {
    throw new LinnetError('SHAPE', `a ring of ${slotPositions.length} slots does not fit masks for ${ring.rows}`);
  }
  const open = step.open?.positions ?? noPositions;
  if (open.length + nodes !== treeBlock.rows) {
    throw new LinnetError(
      'SHAPE',
      `masks of ${treeBlock.rows} rows do not fit ${open.length} open rows and ${nodes} nodes`,
    );
  }
  const hidden = step.open?.from ?? Number.POSITIVE_INFINITY;
  if (!Number.isSafeInteger(committed) || committed < 0) {
    throw new LinnetError('INPUT', `the committed length must be a whole number from 0, got ${committed}`);
  }
  for (let node = 0; node < nodes; node++) {
    const row = sequence * nodes + node;
    if (node < tree.size) {
      fillHeldRow(ring, row, slotPositions, hidden, committed, tree, node, view);
      fillHeldRow(treeBlock, row, open, Number.POSITIVE_INFINITY, committed, tree, node, view);
      fillTreeRow(treeBlock, row, open.length, tree, committed, node, view);
    } else {
      clearRow(ring, row, horizon);
      clearRow(treeBlock, row, horizon);
      treeBlock.same[row * treeBlock.rows + open.length + node] = 1;
    }
  }
}

/**
 * Positions of a block. Sums over keys run block by block, and no tree crosses from one to the next: so a row is added up at the
 * same place whether it is committed or a node of the tree. Products add up stretches of 128 rows,
 * which hold a block and a tree of as many nodes.
 */
export const openBlock = 64;

/** The first position of the window at `length`. With a span, the first that a text of `length` tokens has not folded. */
export function foldStart(
  length: number,
  { group, window = 1, span = group }: Pick<Horizon, 'group' | 'window' | 'span'>,
): number {
  if (group === Number.POSITIVE_INFINITY) return 0;
  return Math.max(0, length - (length % span) - (window - 1) * group);
}

/** Folds of fewer positions would leave no room to trees, which cross none. */
const leastSpan = 32;

/** Positions of groups that are folded at once. */
export function spanOf(group: number): number {
  return group * Math.ceil(leastSpan / group);
}

/** More S at once would take more memory than they save time. */
const mostEnding = 4;

/** The steps after which S is an output, where the graph gives it: the first chains that end with a group. */
export function endingSteps<Step extends Pick<SequenceStep, 'tree' | 'committed'>>(
  steps: readonly Step[],
  group: number,
): readonly Step[] {
  const ends = ({ tree, committed }: Step): boolean =>
    (committed + tree.size) % group === 0 && tree.height === tree.size - 1;
  return steps.filter(ends).slice(0, mostEnding);
}

/** The slot of a position: the first s have one for good, the others take turns in the rest. @param slots C */
export function slotOf(position: number, slots: number, { sinks = 0 }: Pick<Horizon, 'sinks'>): number {
  return position < sinks ? position : sinks + ((position - sinks) % (slots - sinks));
}

/** After a text of `length` tokens, the position in a slot: the last that falls on it; −1 for none. @param slots C */
export function positionInSlot(
  slot: number,
  slots: number,
  length: number,
  { sinks = 0 }: Pick<Horizon, 'sinks'>,
): number {
  if (slot >= length) return emptySlot;
  return slot < sinks ? slot : slot + (slots - sinks) * Math.floor((length - 1 - slot) / (slots - sinks));
}

function clearRow(block: MaskBlock, row: number, horizon: Horizon): void {
  const start = row * block.rows;
  block.same.fill(0, start, start + block.rows);
  block.earlier.fill(0, start, start + block.rows);
  block.offsets.fill(horizon.reach + 1, start, start + block.rows);
}

/** How far and by which rule the rows of a step see. */
interface View {
  readonly horizon: Horizon;
  /** The horizon without a span. */
  readonly window: Pick<Horizon, 'group' | 'window'>;
  readonly rule: TreeRule | undefined;
}

const noPositions = new Int32Array(0);

/** The first columns of a row, of committed positions. @param hidden those from here on are not seen */
function fillHeldRow(
  block: MaskBlock,
  row: number,
  slotPositions: ArrayLike<number>,
  hidden: number,
  committed: number,
  tree: TokenTree,
  node: number,
  { horizon, window, rule }: View,
): void {
  const { reach, sinks = 0 } = horizon;
  const convolved = committed + (rule?.depth?.(tree, node) ?? tree.depths[node]);
  const first = foldStart(committed + tree.depths[node], window);
  // Older groups are in S.
  const folded = foldStart(committed, horizon);
  const end = rule?.seesClosedGroups === false ? foldStart(committed, window) : first;
  const start = row * block.rows;
  for (let slot = 0; slot < slotPositions.length; slot++) {
    const at = slotPositions[slot];
    const held = at >= 0 && at < committed && at < hidden;
    const near = at >= first || at < sinks;
    block.same[start + slot] = held && near ? 1 : 0;
    block.earlier[start + slot] = held && !near && at >= folded && at < end ? 1 : 0;
    block.offsets[start + slot] = held && convolved - at <= reach ? convolved - at : reach + 1;
  }
}

/** @param open columns before the nodes' */
function fillTreeRow(
  block: MaskBlock,
  row: number,
  open: number,
  tree: TokenTree,
  committed: number,
  node: number,
  { horizon, window, rule }: View,
): void {
  const { reach, sinks = 0 } = horizon;
  const first = foldStart(committed + tree.depths[node], window);
  const start = row * block.rows + open;
  for (let column = 0; column < block.rows - open; column++) {
    const seen = column < tree.size && tree.ancestors[node * tree.size + column] === 1;
    const at = committed + tree.depths[column];
    const near = at >= first || at < sinks;
    const offset = rule?.offset?.(tree, node, column) ?? (seen ? tree.depths[node] - tree.depths[column] : -1);
    block.same[start + column] = seen && near ? 1 : 0;
    block.earlier[start + column] = seen && !near && rule?.seesClosedGroups !== false ? 1 : 0;
    block.offsets[start + column] = offset >= 0 && offset <= reach ? offset : reach + 1;
  }
}
