/** An LFM2 small enough to be run by the hundred: short convolutions next to any mixer in place of its attention. */
import { shortConvSchema } from '../../src/attention/kinds/short-conv/config.ts';
import type { MixerConfig } from '../../src/attention/mixer.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import type { CausalModel } from '../../src/models/model.ts';

/** Width 24 with four query heads on two key-value heads, vocabulary 50, one layer per mixer. */
export function tinyLfm2(mixers: readonly MixerConfig[]): CausalModel {
  const found = mixers.map((mixer) => shortConvSchema.safeParse(mixer).data);
  const convolution = found.find((mixer) => mixer !== undefined);
  return describeCausalModel({
    ...{ model_type: 'lfm2', vocab_size: 50, hidden_size: 24, intermediate_size: 48, block_multiple_of: 8 },
    ...{ num_hidden_layers: mixers.length, num_attention_heads: 4, num_key_value_heads: 2 },
    layer_types: found.map((mixer) => (mixer === undefined ? 'full_attention' : 'conv')),
    ...(convolution && { conv_L_cache: convolution.kernel, conv_bias: convolution.bias }),
    linnet: { version: 1, mixers },
  });
}
