/** LFM2 through what is done with a hybrid. */
import { testHybridUses } from './hybrid-uses.ts';

testHybridUses({
  family: 'lfm2',
  ownKind: 'short-conv',
  trained: ['0.conv.in_proj', '0.conv.out_proj', '1.self_attn.q_proj', '1.self_attn.out_proj'].map(
    (name) => `model.layers.${name}`,
  ),
});
