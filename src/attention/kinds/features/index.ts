/**
 * Linear attention through a feature map φ: o_t = Σ_{j≤t} ⟨φ(q_t), φ(k_j)⟩·v_j with its own normalization. ReLU, Performer,
 * TransNormer, RFA, Hedgehog and YOSO's hashes differ in φ alone (docs/reference/linear-attentions.md).
 */
import { filterParameters, withConvolution } from '../../convolution-config.ts';
import type { MixerKind } from '../../mixer.ts';
import { convolvedPreset, groupOption, seedOption } from '../../preset.ts';
import {
  describeFeatureMap,
  featureCount,
  type FeaturesMixer,
  featuresSchema,
  isLearnedMap,
  mapParameters,
} from './maps.ts';
import { featuresCross, featuresOfWhole, featuresParallel, featuresRecurrent } from './forms.ts';
import { featuresReference } from './reference.ts';

const featuresOption = {
  features: featureCount.optional().describe('random features of performer, frequencies of rfa (default: 64)'),
};

const random = { ...groupOption, ...featuresOption, ...seedOption };

const plainPreset = (map: object, output?: string) =>
  convolvedPreset('features', groupOption, (fields) => ({ ...fields, map, output }));

const randomPreset = (name: string) =>
  convolvedPreset('features', random, ({ group, ...map }) => ({ group, map: { name, ...map } }));

const outputNames: Readonly<Record<FeaturesMixer['output'], string>> = {
  ratio: '',
  rms: ' with rms norm',
  unit: ' of unit length',
};

export const featuresKind = {
  kind: 'features',
  schema: featuresSchema,
  describe: ({ map, output, convolution, group }) =>
    `${withConvolution(`${describeFeatureMap(map)}${outputNames[output]}`, convolution)}, G = ${group}`,
  parameters: ({ map, convolution: own }, dims) => [
    ...(isLearnedMap(map) ? mapParameters(dims) : []),
    ...filterParameters(own, dims),
  ],
  hasSurrogateGradient: ({ map }) => map.name === 'hashes',
  reference: featuresReference,
  parallel: featuresParallel,
  recurrent: featuresRecurrent,
  bidirectional: featuresOfWhole,
  cross: featuresCross,
  presets: {
    relu: plainPreset({ name: 'relu' }),
    performer: randomPreset('performer'),
    transnormer: plainPreset({ name: 'elu' }, 'rms'),
    rfa: randomPreset('rfa'),
    hedgehog: plainPreset({ name: 'hedgehog' }),
  },
} satisfies MixerKind<FeaturesMixer>;
