/**
 * Block of each row of a Linformer step, and the blocks behind each node. Blocks are counted from the first one not closed
 * within the committed text: the N blocks of a step are those that its trees may close. Inputs of the step graph, once per
 * layout.
 */
import type { Value } from '../../../graph/graph.ts';
import { tensor } from '../../../graph/tensor.ts';
import { exactRule, type SequenceStep } from '../../masks.ts';
import type { LayoutInputs } from '../../mixer.ts';
import type { BlockLinformerMixer } from './config.ts';

/** Where the rows of a block of rows (the ring or the tree) lie in the blocks that are projected. */
export interface BlockMembership {
  /** int32 [B,rows]: 0…G−1, position within the block. */
  readonly offsets: Value;
  /** float32 0/1 [B,rows,N]: the row lies in the c-th block. */
  readonly member: Value;
}

/** Offsets and membership of rows, as they are filled. */
interface FilledRows {
  readonly offsets: Int32Array;
  readonly member: Float32Array;
}

export const membershipInputs: LayoutInputs<BlockLinformerMixer> = {
  declare: (_, slots, named) => ({
    /** 1 where the node lies behind the c-th block, which so has closed. */
    closed: { dtype: 'float32', shape: ['B', 1, 'T', named('N')] },
    'offsets.ring': { dtype: 'int32', shape: ['B', slots] },
    'offsets.tree': { dtype: 'int32', shape: ['B', 'T'] },
    'member.ring': { dtype: 'float32', shape: ['B', slots, named('N')] },
    'member.tree': { dtype: 'float32', shape: ['B', 'T', named('N')] },
  }),
  feeds({ block }, steps, nodes, slots) {
    const B = steps.length;
    const { count, closed, ring, tree } = blockMembership(steps, nodes, slots, block);
    return {
      closed: tensor('float32', [B, 1, nodes, count], closed),
      'offsets.ring': tensor('int32', [B, slots], ring.offsets),
      'offsets.tree': tensor('int32', [B, nodes], tree.offsets),
      'member.ring': tensor('float32', [B, slots, count], ring.member),
      'member.tree': tensor('float32', [B, nodes, count], tree.member),
    };
  },
};

/** N, at least 1, and the numbers of one step. @param block G */
function blockMembership(steps: readonly SequenceStep[], nodes: number, slots: number, block: number) {
  const blockOf = (position: number): number => Math.floor(position / block);
  const count = steps.reduce(
    (most, { committed, tree }) => Math.max(most, blockOf(committed + tree.height) - blockOf(committed)),
    1,
  );
  const filled = (rows: number): FilledRows => ({
    offsets: new Int32Array(steps.length * rows),
    member: new Float32Array(steps.length * rows * count),
  });
  const [ring, tree] = [filled(slots), filled(nodes)];
  const closed = new Float32Array(steps.length * nodes * count);
  const put = ({ offsets, member }: FilledRows, row: number, position: number, first: number): void => {
    const index = blockOf(position) - first;
    if (index < 0 || index >= count) return;
    offsets[row] = position % block;
    member[row * count + index] = 1;
  };
  steps.forEach(({ slotPositions, tree: own, committed, rule = exactRule }, b) => {
    const first = blockOf(committed);
    slotPositions.forEach((position, slot) => {
      if (position >= 0 && position < committed) put(ring, b * slots + slot, position, first);
    });
    own.depths.forEach((depth, node) => {
      const row = b * nodes + node;
      put(tree, row, committed + depth, first);
      const behind = rule.seesClosedGroups ? blockOf(committed + depth) - first : 0;
      closed.fill(1, row * count, row * count + behind);
    });
  });
  return { count, closed, ring, tree };
}
