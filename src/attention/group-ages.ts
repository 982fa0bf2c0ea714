/**
 * Ages in groups, for memories that decay with every group: how many groups lie between a row's group and the reading
 * node's window or, for S, between the last folded group and the window. Inputs of the step form.
 */
import { type Dim, type Tensor, tensor } from '../graph/tensor.ts';
import type { Horizon } from './attention-layer.ts';
import { emptySlot, openCount, type SequenceStep, spanOf, foldStart } from './masks.ts';

/** Names of the inputs: ages of the ring's rows, the tree's rows and S. */
export const ageNames = { ring: 'age.ring', tree: 'age.tree', sums: 'age.sums' } as const;

/** Types of the inputs. */
export function declareGroupAges(slots: Dim, treeRows: Dim): Record<string, { dtype: 'float32'; shape: Dim[] }> {
  return {
    [ageNames.ring]: { dtype: 'float32', shape: ['B', 1, 'T', slots] },
    [ageNames.tree]: { dtype: 'float32', shape: ['B', 1, 'T', treeRows] },
    [ageNames.sums]: { dtype: 'float32', shape: ['B', 1, 'T', 1] },
  };
}

/** Values of the inputs: see `LayoutInputs`. */
export function groupAges(
  horizon: Pick<Horizon, 'group' | 'window'>,
  steps: readonly SequenceStep[],
  nodes: number,
  slots: number,
): Record<string, Tensor> {
  const { group: G, window: W = 1 } = horizon;
  const B = steps.length;
  const ring = new Float32Array(B * nodes * slots);
  const open = openCount(steps);
  const columns = open + nodes;
  const tree = new Float32Array(B * nodes * columns);
  const sums = new Float32Array(B * nodes);
  steps.forEach(({ slotPositions, tree: own, committed, open: rows }, b) => {
    const folded = foldStart(committed, { ...horizon, span: spanOf(G) }) / G;
    own.depths.forEach((depth, node) => {
      const row = b * nodes + node;
      const group = Math.floor((committed + depth) / G);
      const age = (position: number): number => Math.max(0, group - Math.floor(position / G) - W);
      slotPositions.forEach((position, slot) => {
        if (position !== emptySlot) ring[row * slots + slot] = age(position);
      });
      rows?.positions.forEach((position, column) => {
        tree[row * columns + column] = age(position);
      });
      own.depths.forEach((other, column) => {
        tree[row * columns + open + column] = age(committed + other);
      });
      sums[row] = Math.max(0, group - W + 1 - folded);
    });
  });
  return {
    [ageNames.ring]: tensor('float32', [B, 1, nodes, slots], ring),
    [ageNames.tree]: tensor('float32', [B, 1, nodes, columns], tree),
    [ageNames.sums]: tensor('float32', [B, 1, nodes, 1], sums),
  };
}
