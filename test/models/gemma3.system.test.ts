/** Gemma 3 through what is done with a hybrid. */
import { testHybridUses } from './hybrid-uses.ts';

testHybridUses({
  family: 'gemma3_text',
  ownKind: 'window',
  trained: ['0.self_attn.q_proj', '0.self_attn.o_proj', '1.self_attn.k_proj', '1.self_attn.v_proj'].map(
    (name) => `model.layers.${name}`,
  ),
});
