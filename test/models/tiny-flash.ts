/** A FLASH small enough to be run by the hundred: token shift, values wider than keys, any mixer in its units. */
import type { MixerConfig } from '../../src/attention/mixer.ts';
import { flashModel } from '../../src/models/families/flash/model.ts';
import type { CausalModel } from '../../src/models/model.ts';

/** Width 8, queries and keys of width 6, vocabulary 50, one unit per mixer. */
export function tinyFlash(mixers: readonly MixerConfig[]): CausalModel {
  return flashModel({
    ...{ model_type: 'flash', vocab_size: 50, dim: 8, depth: mixers.length, query_key_dim: 6, trained_length: 32 },
    linnet: { version: 1, mixers },
  });
}
