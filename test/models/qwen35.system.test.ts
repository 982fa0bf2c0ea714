/** Qwen3.5, as a composite folder, through what is done with a hybrid. */
import { testHybridUses } from './hybrid-uses.ts';

testHybridUses({
  family: 'qwen3_5',
  ownKind: 'delta-net',
  trained: ['0.linear_attn.in_proj_qkv', '0.linear_attn.out_proj', '1.self_attn.q_proj', '1.self_attn.o_proj'].map(
    (name) => `model.language_model.layers.${name}`,
  ),
});
