/**
 * Linear attention through a feature map φ: o_t = Σ_{j≤t} ⟨φ(q_t), φ(k_j)⟩·v_j with a normalization of its own. ReLU,
 * Performer, TransNormer, RFA, Hedgehog and YOSO's hashes differ in φ alone (docs/reference/linear-attentions.md).
 */
import { filterParameters } from '../../convolution-config.ts';
import { openBlock } from '../../masks.ts';
import type { MixerKind } from '../../mixer.ts';
import { convolvedPreset, groupOption, seedOption } from '../../preset.ts';
import {
  describeFeatures,
  featureCount,
  type FeaturesMixer,
  featuresSchema,
  isLearnedMap,
  mapParameters,
  featuresOf,
} from './maps.ts';
import {
  featuresCross,
  featuresFold,
  featuresOfWhole,
  featuresParallel,
  featuresState,
  featuresStep,
} from './forms.ts';
import { featuresReference } from './reference.ts';

const featuresOption = {
  features: featureCount.optional().describe('random features of performer, frequencies of rfa (default: 64)'),
};

const random = { ...groupOption, ...featuresOption, ...seedOption };

const plainPreset = (map: object, output?: string) =>
  convolvedPreset('features', groupOption, (fields) => ({ ...fields, map, output }));

const randomPreset = (name: string) =>
  convolvedPreset('features', random, ({ group, ...map }) => ({ group, map: { name, ...map } }));

export const featuresKind = {
  kind: 'features',
  schema: featuresSchema,
  describe: describeFeatures,
  parameters: ({ map, convolution: own }, dims) => [
    ...(isLearnedMap(map) ? mapParameters(dims) : []),
    ...filterParameters(own, dims),
  ],
  hasSurrogateGradient: ({ map }) => map.name === 'hashes',
  reference: featuresReference,
  parallel: featuresParallel,
  recurrent: {
    state: featuresState,
    step: featuresStep,
    fold: featuresFold,
    sameBits: () => 'open rows',
    stepConfig: (config) => ({ ...config, group: openBlock }),
    scoreWidth: ({ map }, { headWidth }) => featuresOf(map, headWidth),
  },
  bidirectional: featuresOfWhole,
  cross: { ...featuresCross, whole: featuresOfWhole },
  presets: {
    relu: plainPreset({ name: 'relu' }),
    performer: randomPreset('performer'),
    transnormer: plainPreset({ name: 'elu' }, 'rms'),
    rfa: randomPreset('rfa'),
    hedgehog: plainPreset({ name: 'hedgehog' }),
  },
} satisfies MixerKind<FeaturesMixer>;
