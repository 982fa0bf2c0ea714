/** OLMo-Hybrid through what is done with a hybrid. */
import { testHybridUses } from './hybrid-uses.ts';

testHybridUses({
  family: 'olmo_hybrid',
  ownKind: 'delta-net',
  trained: ['0.linear_attn.q_proj', '0.linear_attn.o_proj', '1.self_attn.q_proj', '1.self_attn.o_proj'].map(
    (name) => `model.layers.${name}`,
  ),
});
