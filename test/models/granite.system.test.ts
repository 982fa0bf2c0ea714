/** Granite 4 H through what is done with a hybrid. */
import { testHybridUses } from './hybrid-uses.ts';

testHybridUses({
  family: 'granitemoehybrid',
  ownKind: 'mamba2',
  trained: ['0.mamba.in_proj', '0.mamba.out_proj', '1.self_attn.q_proj', '1.self_attn.o_proj'].map(
    (name) => `model.layers.${name}`,
  ),
});
