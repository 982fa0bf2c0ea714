/**
 * Visibility for a token tree's nodes in one step: masks and offsets over the ring's rows (the last C committed positions) and
 * the tree's own. The host fills them before every step, into buffers made once.
 *
 * Node a is at position p_a = L + depth_a, where L is the committed length, and belongs to group ⌊p_a/G⌋. Its window begins
 * with group ⌊p_a/G⌋ − W + 1; in most mixers W = 1: the window is the node's group. A row it can see, at position p, is
 *
 * - `same` if it is in the window, or one of the sinks: ⌊p/G⌋ > ⌊p_a/G⌋ − W, or p < s;
 * - `earlier` if it is older and not yet folded into S. Folded groups have left the window of every position that may still
 *   be read, g + W ≤ ⌊L/G⌋: S contains their rows, which stay in the ring only for the convolution;
 * - at offset p_a − p if that is within the reach P of distance-dependent terms; all other rows get offset P+1, whose
 *   filter weight is zero.
 *
 * A node sees every committed position, and its ancestors and itself in the tree. The reading node's group decides about
 * each row, so trees that cross any number of group boundaries are exact.
 */
import { LinnetError } from '../errors.ts';
import type { Horizon } from './attention-layer.ts';
import type { TokenTree } from './tree.ts';

/** Position of an empty ring slot. */
export const emptySlot = -1;

/**
 * Inexact visibility between a tree's nodes and the text, for studies. Omitted parts are exact: trees then give the results
 * of sequential decoding, since each node meets its ancestors at their offsets (paper, figure 8).
 */
export interface TreeRule {
  /** Whether nodes beyond a group boundary see groups that closed since the text was folded. Default true. */
  readonly seesClosedGroups?: boolean;
  /** How many positions after the root the convolution places a node. Default: its depth. */
  depth?(tree: TokenTree, node: number): number;
  /**
   * Offset from a node to a column of the tree's rows, padding included; negative if the convolution does not look.
   * Default: the difference in depth from ancestors and the node itself.
   */
  offset?(tree: TokenTree, node: number, column: number): number;
}

/** Masks over one block of rows, for B sequences of T nodes. */
export interface MaskBlock {
  /** Rows per sequence: C for the ring; T, after U open rows, for the tree. */
  readonly rows: number;
  /** 1 or 0 [B,T,rows]. */
  readonly same: Float32Array;
  /** 1 or 0 [B,T,rows]. */
  readonly earlier: Float32Array;
  /** 0…P, or P+1 beyond the convolution's reach [B,T,rows]. */
  readonly offsets: Int32Array;
}

/** Buffers for one step's masks, reused by every step of the same sizes. */
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

/** The nodes that a step reads from one sequence, at most T. */
export interface TreeView {
  readonly tree: TokenTree;
  /** How the nodes see the text and each other. Default: exactly; others are for studies. */
  readonly rule?: TreeRule;
}

/** Ring rows read with the tree's: see `OpenRows`. */
export interface OpenPositions {
  /** Position of every open row [U], ascending; −1 (`emptySlot`) behind them. */
  readonly positions: Int32Array;
  /** The first position whose row the ring hides. */
  readonly from: number;
}

/** U: open rows per sequence, the same for all sequences of a step. */
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
  /** Positions in the S that the step reads, if more than closed groups. */
  readonly ahead?: number;
}

/**
 * Fills the masks of sequence `sequence` of the batch, overwriting the buffers. Allocates nothing.
 *
 * Nodes beyond the tree's size are padding: they see only themselves, so that a softmax over their rows stays finite, and
 * nothing sees them. Slots at positions from L on are not committed and count as empty.
 *
 * @throws LinnetError `SHAPE` if the sequence, its tree or its ring does not fit the buffers; `INPUT` for an L that is not
 *   a whole number.
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
 * Positions per block. Sums over keys run block by block and no tree crosses a boundary, so a row is summed at the same
 * place whether it is committed or a node of the tree. Products sum stretches of 128 rows, which hold a block and a tree of
 * as many nodes.
 */
export const openBlock = 64;

/** The first position of the window at `length`. With a span, the first one that a text of `length` tokens has not folded. */
export function foldStart(
  length: number,
  { group, window = 1, span = group }: Pick<Horizon, 'group' | 'window' | 'span'>,
): number {
  if (group === Number.POSITIVE_INFINITY) return 0;
  return Math.max(0, length - (length % span) - (window - 1) * group);
}

/** Smaller folds would leave no room for trees, which cross none. */
const leastSpan = 32;

/** Positions of groups folded at once. */
export function spanOf(group: number): number {
  return group * Math.ceil(leastSpan / group);
}

/** More S at once of either sort would cost more memory than the time they save is worth. */
const mostEnding = 4;

/**
 * The steps after which S is an output, if the graph gives it, in their order: the first chains that end with a group, and the
 * first lone nodes that end half of one, where rows to replay begin to cost more than S. A copy that fills the batch stands
 * last, and so takes no other's place.
 */
export function endingSteps<Step extends Pick<SequenceStep, 'tree' | 'committed'>>(
  steps: readonly Step[],
  group: number,
): readonly Step[] {
  const left = { whole: mostEnding, half: mostEnding };
  return steps.filter(({ tree, committed }) => {
    const end = committed + tree.size;
    const sort = end % group === 0 ? 'whole' : 'half';
    const ends = sort === 'whole' ? tree.height === tree.size - 1 : tree.size === 1 && end % (group / 2) === 0;
    return ends && left[sort]-- > 0;
  });
}

/** A position's slot: the first s have fixed ones, the others take turns in the rest. @param slots C */
export function slotOf(position: number, slots: number, { sinks = 0 }: Pick<Horizon, 'sinks'>): number {
  return position < sinks ? position : sinks + ((position - sinks) % (slots - sinks));
}

/** The position in a slot after `length` tokens: the last that falls on it; −1 for none. @param slots C */
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

/** How far, and by which rule, a step's rows see. */
interface View {
  readonly horizon: Horizon;
  /** The horizon without a span. */
  readonly window: Pick<Horizon, 'group' | 'window'>;
  readonly rule: TreeRule | undefined;
}

const noPositions = new Int32Array(0);

/** Fills a row's first columns, for committed positions. @param hidden hides those from here on */
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
    const seen = tree.isAncestorOrSelf(node, column);
    const at = committed + tree.depths[column];
    const near = at >= first || at < sinks;
    const offset = rule?.offset?.(tree, node, column) ?? (seen ? tree.depths[node] - tree.depths[column] : -1);
    block.same[start + column] = seen && near ? 1 : 0;
    block.earlier[start + column] = seen && !near && rule?.seesClosedGroups !== false ? 1 : 0;
    block.offsets[start + column] = offset >= 0 && offset <= reach ? offset : reach + 1;
  }
}
