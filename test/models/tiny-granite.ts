/** A Granite 4 H small enough to be run by the hundred: Mamba-2 next to any mixer in place of its attention. */
import { mamba2Schema } from '../../src/attention/kinds/mamba2/config.ts';
import type { MixerConfig } from '../../src/attention/mixer.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import type { CausalModel } from '../../src/models/model.ts';

/** Width 24 with four query heads on two key-value heads, vocabulary 50, one layer per mixer. */
export function tinyGranite(mixers: readonly MixerConfig[]): CausalModel {
  const found = mixers.map((mixer) => mamba2Schema.safeParse(mixer).data);
  const own = found.find((mixer) => mixer !== undefined);
  return describeCausalModel({
    ...{ model_type: 'granitemoehybrid', vocab_size: 50, hidden_size: 24, shared_intermediate_size: 48 },
    ...{ num_hidden_layers: mixers.length, num_attention_heads: 4, num_key_value_heads: 2 },
    ...{ attention_multiplier: 0.4, embedding_multiplier: 2, residual_multiplier: 0.7, logits_scaling: 0.5 },
    layer_types: found.map((mixer) => (mixer === undefined ? 'attention' : 'mamba')),
    ...(own && {
      ...{ mamba_n_heads: own.heads, mamba_d_head: own.headWidth, mamba_expand: (own.heads * own.headWidth) / 24 },
      ...{ mamba_d_state: own.state, mamba_n_groups: own.groups, mamba_d_conv: own.kernel },
      ...{ mamba_conv_bias: own.bias, time_step_limit: [own.least, own.most] },
    }),
    linnet: { version: 1, mixers },
  });
}

/** Six heads in three groups, which are its state heads. */
export const threeGroups = { kind: 'mamba2', heads: 6, headWidth: 4, state: 5, groups: 3 } as const;
