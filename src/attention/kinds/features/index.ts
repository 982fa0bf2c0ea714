/**
 * Linear attention through a feature map φ: o_t = Σ_{j≤t} ⟨φ(q_t), φ(k_j)⟩·v_j with a normalization of its own. ReLU,
 * Performer, TransNormer, RFA, Hedgehog and YOSO's hashes differ in φ alone (docs/reference/linear-attentions.md).
 */
import { filterParameters } from '../../convolution-config.ts';
import type { MixerKind } from '../../mixer.ts';
import {
  convolutionFrom,
  type ConvolutionOptions,
  convolutionOptions,
  definePreset,
  groupOption,
  seedOption,
} from '../../preset.ts';
import {
  describeFeatures,
  featureCount,
  type FeaturesMixer,
  featuresSchema,
  isLearnedMap,
  mapParameters,
} from './maps.ts';
import { featuresOfWhole, featuresParallel } from './parallel.ts';
import { featuresReference } from './reference.ts';
import { featuresCross, featuresFold, featuresState, featuresStep } from './step.ts';

const featuresOption = {
  features: featureCount.optional().describe('random features of performer, frequencies of rfa (default: 64)'),
};

const plain = { ...groupOption, ...convolutionOptions };
const random = { ...plain, ...featuresOption, ...seedOption };

function configured(options: ConvolutionOptions & { readonly group?: number }, map: object, output?: string): object {
  return { kind: 'features', group: options.group, map, output, convolution: convolutionFrom(options) };
}

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
  recurrent: { state: featuresState, step: featuresStep, fold: featuresFold, sameBits: () => 'open rows' },
  bidirectional: featuresOfWhole,
  cross: { ...featuresCross, whole: featuresOfWhole },
  presets: {
    relu: definePreset(plain, (options) => configured(options, { name: 'relu' })),
    performer: definePreset(random, ({ features, seed, ...rest }) =>
      configured(rest, { name: 'performer', features, seed }),
    ),
    transnormer: definePreset(plain, (options) => configured(options, { name: 'elu' }, 'rms')),
    rfa: definePreset(random, ({ features, seed, ...rest }) => configured(rest, { name: 'rfa', features, seed })),
    hedgehog: definePreset(plain, (options) => configured(options, { name: 'hedgehog' })),
  },
} satisfies MixerKind<FeaturesMixer>;
