/** FLASH's own attention (Hua et al., arXiv 2202.10447) inside a gated attention unit. It has no preset: see `unitForm`. */
import { filterParameters, reachOf } from '../../convolution-config.ts';
import type { MixerKind } from '../../mixer.ts';
import {
  biasBuckets,
  biasReach,
  describeUnit,
  gauBiasTable,
  type GauMixer,
  gauSchema,
  unitGroup,
  unitRowWidth,
} from './config.ts';
import { unitOfWhole, unitParallel } from './parallel.ts';
import { unitReference } from './reference.ts';
import { unitRecurrent } from './step.ts';

export const gauKind = {
  kind: 'gau',
  family: 'flash',
  schema: gauSchema,
  describe: describeUnit,
  parameters: ({ convolution }, dims) => [
    { name: gauBiasTable, shape: [biasBuckets, 1], init: 'zeros' },
    ...filterParameters(convolution, dims),
  ],
  horizon(config) {
    const biased = config.local === null ? -1 : Math.min(biasReach, unitGroup(config) - 1);
    return { group: unitGroup(config), reach: Math.max(reachOf(config.convolution), biased) };
  },
  rowWidth: unitRowWidth,
  reference: unitReference,
  parallel: unitParallel,
  recurrent: unitRecurrent,
  bidirectional: unitOfWhole,
  presets: {},
} satisfies MixerKind<GauMixer>;
