/** Hybrids small enough to be run by the hundred: the kinds that their families have, alone and beside mixers of other heads. */
import type { MixerInput } from '../../src/attention/kinds/index.ts';
import type { MixerConfig } from '../../src/attention/mixer.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import type { CausalModel } from '../../src/models/model.ts';
import { threeGroups, tinyGranite } from './tiny-granite.ts';
import { tinyLfm2 } from './tiny-lfm2.ts';
import { tinyConfig } from './tiny-model.ts';
import { between, sixStates, tinyQwen35 } from './tiny-qwen35.ts';

/** By the family that has a kind. */
export const hybridModels: Readonly<Record<string, (mixers: readonly MixerConfig[]) => CausalModel>> = {
  granitemoehybrid: tinyGranite,
  lfm2: tinyLfm2,
  qwen3_5: tinyQwen35,
};

/** @param others mixers of attention */
export function hybridVariants(
  ...others: readonly MixerInput[]
): { readonly name: string; readonly model: CausalModel }[] {
  return [
    { name: 'short convolutions beside others', model: tinyLfm2(between({ kind: 'short-conv' }, ...others)) },
    { name: 'delta nets beside mixers of other heads', model: tinyQwen35(between(sixStates, ...others)) },
    { name: 'Mamba-2 beside mixers of other heads', model: tinyGranite(between(threeGroups, ...others)) },
    { name: 'delta nets of signs beside attention', model: describeCausalModel(tinyConfig('olmo_hybrid')) },
    {
      name: 'attention and Mamba-2 of as many heads in each layer',
      model: describeCausalModel({ ...tinyConfig('falcon_h1'), num_key_value_heads: 2 }),
    },
  ];
}
