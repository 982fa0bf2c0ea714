/**
 * Decays over token trees. A row of the ring or the tree keeps its own log decay, so that rows mean the same after any commit
 * and any fold; sums over the path from a row to a node are products with 0/1 matrices. Committed rows are a chain, and their
 * order is an input, once per layout of slots: the age of every row that is not folded yet.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, cast, exp, greater, minimum, mul, sub } from '../../../graph/ops/elementwise.ts';
import { tensor, type Tensor } from '../../../graph/tensor.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import type { Dim } from '../../../graph/shape.ts';
import { emptySlot, type SequenceStep, windowStart } from '../../masks.ts';
import type { StepInput } from '../../mixer.ts';

/** L − p of the row at position p of the ring, 0 where a row is empty or folded: float32 [B,1,1,C]. */
export const ageName = 'age.ring';

export function declareAges(slots: Dim): { dtype: 'float32'; shape: Dim[] } {
  return { dtype: 'float32', shape: ['B', 1, 1, slots] };
}

export function agesOf(group: number, steps: readonly SequenceStep[], slots: number): Tensor {
  const ages = new Float32Array(steps.length * slots);
  steps.forEach(({ slotPositions, committed }, b) => {
    const folded = windowStart(committed, { group });
    slotPositions.forEach((position, slot) => {
      const isRead = position !== emptySlot && position >= folded && position < committed;
      if (isRead) ages[b * slots + slot] = committed - position;
    });
  });
  return tensor('float32', [steps.length, 1, 1, slots], ages);
}

/** Factors from 0 to 1, per key-value head. */
export interface StepDecays {
  /** From a row of the ring to a node, 0 where the node does not read it: [B,M,T,C]. */
  readonly ring: Value;
  /** From a node to a node, 0 unless that is an ancestor or itself: [B,M,T,T]. */
  readonly tree: Value;
  /** From the state S to a node: [B,M,T,1]. */
  readonly sums: Value;
}

/**
 * @param ringLogs g of the rows of the ring [B,M,C,1]
 * @param treeLogs g of the nodes [B,M,T,1]
 */
export function stepDecays({ ring, treeMasks, inputs }: StepInput, ringLogs: Value, treeLogs: Value): StepDecays {
  const [B, M, C] = ringLogs.shape;
  const T = treeLogs.shape[2];
  const age = inputs[ageName]; // [B,1,1,C]
  const isRead = cast(greater(age, 0), 'float32');
  const isNewer = mul(cast(greater(reshape(age, [B, 1, C, 1]), age), 'float32'), isRead); // [B,1,C,C]
  const behind = reshape(matmul(isNewer, ringLogs), [B, M, 1, C]);
  const path = add(treeMasks.same, treeMasks.earlier); // [B,1,T,T]
  const toNode = matmul(path, treeLogs); // [B,M,T,1]
  // Between nodes on different branches the sum may be positive; those are masked, but must stay finite.
  const between = minimum(sub(toNode, reshape(toNode, [B, M, 1, T])), 0);
  return {
    ring: mul(exp(add(toNode, behind)), add(ring.masks.same, ring.masks.earlier)),
    tree: mul(exp(between), path),
    sums: exp(add(toNode, matmul(isRead, ringLogs))),
  };
}
