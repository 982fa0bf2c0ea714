/** A Qwen3.5, or OLMo-Hybrid, small enough to be run by the hundred: Gated DeltaNet next to any mixer in place of its attention. */
import { deltaNetSchema } from '../../src/attention/kinds/delta-net/config.ts';
import type { MixerInput } from '../../src/attention/kinds/index.ts';
import type { MixerConfig } from '../../src/attention/mixer.ts';
import { parseMixer } from '../../src/attention/mixers.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import type { CausalModel } from '../../src/models/model.ts';

/** Width 24 with four query heads on two key-value heads, vocabulary 50, one layer per mixer; OLMo-Hybrid where filters are apart. */
export function tinyQwen35(mixers: readonly MixerConfig[]): CausalModel {
  const found = mixers.map((mixer) => deltaNetSchema.safeParse(mixer).data);
  const own = found.find((mixer) => mixer !== undefined);
  const family = own?.apart
    ? { model_type: 'olmo_hybrid', linear_allow_neg_eigval: own.doubled === true, rope_parameters: { rope_theta: 1e4 } }
    : { model_type: 'qwen3_5_text', partial_rotary_factor: 1 / 3 };
  return describeCausalModel({
    ...{ ...family, vocab_size: 50, hidden_size: 24, intermediate_size: 48, head_dim: 6 },
    ...{
      num_hidden_layers: mixers.length,
      num_attention_heads: 4,
      num_key_value_heads: 2,
    },
    layer_types: found.map((mixer) => (mixer === undefined ? 'full_attention' : 'linear_attention')),
    ...(own && {
      ...{ linear_num_value_heads: own.heads, linear_num_key_heads: own.keyHeads, linear_key_head_dim: own.keyWidth },
      ...{ linear_value_head_dim: own.valueWidth, linear_conv_kernel_dim: own.kernel },
    }),
    linnet: { version: 1, mixers },
  });
}

/** Layers of six states, of a number that the attention next to them does not have. */
export const sixStates = { kind: 'delta-net', heads: 6, keyHeads: 3, keyWidth: 4, valueWidth: 3 } as const;

/** Mixers of a hybrid: one of the family's own before each of the others. */
export function between(own: MixerInput, ...others: readonly MixerInput[]): MixerConfig[] {
  return others.flatMap((other) => [parseMixer(own), parseMixer(other)]);
}
