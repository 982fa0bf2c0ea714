/**
 * Inputs of a window step with a memory beyond masks and state, once per layout. The memory weighs rows one by one only where
 * a node's window has moved past rows that are not folded yet, which takes a tree across the boundary of a group: `older`
 * names the slots of such rows, int32 [U], so that a step without any has next to nothing to compute.
 *
 * A memory that decays by groups also needs the number of groups between a row and a node's window: for a row b − a − W,
 * where the node is in group b and the row in group a; for S, whose last group is f − 1, b − W + 1 − f; 0 for rows that the
 * node does not read.
 */
import { type Tensor, tensor } from '../../../graph/tensor.ts';
import { emptySlot, type SequenceStep, windowStart } from '../../masks.ts';
import type { LayoutInputs } from '../../mixer.ts';
import type { WindowMixer } from './config.ts';

/** The name of the input with the slots of older rows. */
export const olderName = 'older';

type Declared = ReturnType<LayoutInputs<WindowMixer>['declare']>;

function decays({ memory }: WindowMixer): boolean {
  return memory !== null && memory.decay !== 'none';
}

export const windowInputs: LayoutInputs<WindowMixer> = {
  tag: (config) => (config.memory === null ? '' : decays(config) ? 'md' : 'm'),
  declare(config, slots, named) {
    const none: Declared = {};
    if (config.memory === null) return none;
    const older: Declared = { [olderName]: { dtype: 'int32', shape: [named('U')] } };
    if (!decays(config)) return older;
    return {
      ...older,
      'age.ring': { dtype: 'float32', shape: ['B', 1, 'T', slots] },
      'age.tree': { dtype: 'float32', shape: ['B', 1, 'T', 'T'] },
      'age.sums': { dtype: 'float32', shape: ['B', 1, 'T', 1] },
    };
  },
  feeds(config, steps, nodes, slots) {
    const none: Record<string, Tensor> = {};
    if (config.memory === null) return none;
    const rows = olderSlots(config, steps);
    const older = { [olderName]: tensor('int32', [rows.length], rows) };
    if (!decays(config)) return older;
    const B = steps.length;
    const { ring, tree, sums } = agesOf(config, steps, nodes, slots);
    return {
      ...older,
      'age.ring': tensor('float32', [B, 1, nodes, slots], ring),
      'age.tree': tensor('float32', [B, 1, nodes, nodes], tree),
      'age.sums': tensor('float32', [B, 1, nodes, 1], sums),
    };
  },
};

/**
 * Slots with rows that are not folded, and that some node's window has moved past, of all sequences; at least one, so that no
 * tensor is empty. Masks say who reads which.
 */
function olderSlots(config: WindowMixer, steps: readonly SequenceStep[]): Int32Array {
  const found = new Set<number>();
  for (const { slotPositions, tree, committed } of steps) {
    const folded = Math.max(windowStart(committed, config), config.sinks);
    const end = windowStart(committed + tree.depths.reduce((most, depth) => Math.max(most, depth), 0), config);
    if (end <= folded) continue;
    slotPositions.forEach((position, slot) => {
      if (position >= folded && position < end) found.add(slot);
    });
  }
  return Int32Array.from(found.size === 0 ? [0] : [...found].sort((a, b) => a - b));
}

function agesOf(config: WindowMixer, steps: readonly SequenceStep[], nodes: number, slots: number) {
  const { group: G, window: W } = config;
  const ring = new Float32Array(steps.length * nodes * slots);
  const tree = new Float32Array(steps.length * nodes * nodes);
  const sums = new Float32Array(steps.length * nodes);
  steps.forEach(({ slotPositions, tree: own, committed }, b) => {
    const folded = windowStart(committed, config) / G;
    own.depths.forEach((depth, node) => {
      const row = b * nodes + node;
      const group = Math.floor((committed + depth) / G);
      const age = (position: number): number => Math.max(0, group - Math.floor(position / G) - W);
      slotPositions.forEach((position, slot) => {
        if (position !== emptySlot) ring[row * slots + slot] = age(position);
      });
      own.depths.forEach((other, column) => {
        tree[row * nodes + column] = age(committed + other);
      });
      sums[row] = Math.max(0, group - W + 1 - folded);
    });
  });
  return { ring, tree, sums };
}
