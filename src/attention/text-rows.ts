/** Memories of another text, for attention to it. */
import type { Value } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { mul } from '../graph/ops/elementwise.ts';
import { reshape } from '../graph/ops/layout.ts';
import type { CrossForm, MixerConfig } from './mixer.ts';
import { nodeRows } from './step-blocks.ts';

/**
 * The memory whose rows are read one by one: keys and values head by head, and the mask. @param kept the form in which keys
 * [B,m,M,D] are kept
 */
export function textRows(kept: (keys: Value) => Value): Pick<CrossForm<MixerConfig>, 'tensors' | 'memory'> {
  return {
    tensors: (_, { keyValueHeads, headWidth, valueWidth = headWidth }) => ({
      keys: [keyValueHeads, 'm', headWidth],
      values: [keyValueHeads, 'm', valueWidth],
      visible: [1, 1, 'm'],
    }),
    memory(_, { k, v, mask }) {
      const [B, m] = mask.shape;
      return { keys: nodeRows(kept(k)), values: nodeRows(v), visible: reshape(mask, [B, 1, 1, m]) };
    },
  };
}

/** The sums that remember another text: Σ keysᵀ·values over its tokens [B,M,X,E], from rows [B,M,m,X] and [B,M,m,E]. */
export function textSums(keys: Value, values: Value, mask: Value): Value {
  const [B, m] = mask.shape;
  return matmul(mul(keys, reshape(mask, [B, 1, m, 1])), values, { transposeA: true });
}
