/** The memory of another text whose rows are read one by one: keys and values head by head, and the mask. */
import type { Value } from '../graph/graph.ts';
import { reshape } from '../graph/ops/layout.ts';
import type { CrossForm, MixerConfig } from './mixer.ts';
import { nodeRows } from './step-blocks.ts';

/** @param kept the keys [B,m,M,D] as they are kept */
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
