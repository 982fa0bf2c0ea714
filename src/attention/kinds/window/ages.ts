/**
 * How many groups lie between what a node reads and its window, for a memory that decays by groups: of a row b − a − W, where
 * the node is in group b and the row in group a; of S, whose last group is f − 1, b − W + 1 − f. Inputs of the step graph,
 * once per layout; 0 for what the node does not read.
 */
import { type Tensor, tensor } from '../../../graph/tensor.ts';
import { emptySlot, type SequenceStep, windowStart } from '../../masks.ts';
import type { LayoutInputs } from '../../mixer.ts';
import type { WindowMixer } from './config.ts';

function decays({ memory }: WindowMixer): boolean {
  return memory !== null && memory.decay !== 'none';
}

export const ageInputs: LayoutInputs<WindowMixer> = {
  tag: (config) => (decays(config) ? 'd' : ''),
  declare(config, slots) {
    const none: ReturnType<LayoutInputs<WindowMixer>['declare']> = {};
    if (!decays(config)) return none;
    return {
      'age.ring': { dtype: 'float32', shape: ['B', 1, 'T', slots] },
      'age.tree': { dtype: 'float32', shape: ['B', 1, 'T', 'T'] },
      'age.sums': { dtype: 'float32', shape: ['B', 1, 'T', 1] },
    };
  },
  feeds(config, steps, nodes, slots) {
    const none: Record<string, Tensor> = {};
    if (!decays(config)) return none;
    const B = steps.length;
    const { ring, tree, sums } = agesOf(config, steps, nodes, slots);
    return {
      'age.ring': tensor('float32', [B, 1, nodes, slots], ring),
      'age.tree': tensor('float32', [B, 1, nodes, nodes], tree),
      'age.sums': tensor('float32', [B, 1, nodes, 1], sums),
    };
  },
};

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
