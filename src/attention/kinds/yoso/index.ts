/**
 * The expectation of YOSO (Zeng et al., arXiv 2111.09714): weights (1 − arccos(q̂·k̂)/π)^bits, the probability that hashes
 * of `bits` hyperplanes collide, over the whole past, and unit-length outputs. The sampled form is the `features` kind's
 * `hashes` map.
 */
import { z } from 'zod';
import { collision } from '../../../graph/ops/surrogate-gradient.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { mul } from '../../../graph/ops/elementwise.ts';
import { unitLength } from '../../../graph/ops/normalization.ts';
import { convolutionField, filterParameters, withConvolution } from '../../convolution-config.ts';
import { addConvolution } from '../../convolution.ts';
import { groupingOf } from '../../grouping.ts';
import { HeadLayout } from '../../head-layout.ts';
import type { CrossForm, MixerKind } from '../../mixer.ts';
import { boundedLength } from '../../normalization.ts';
import { convolvedPreset, groupOption, seedOption } from '../../preset.ts';
import { textRows } from '../../text-rows.ts';
import { collisionBitsSchema, defaultCollisionBits, type LinearMixer } from '../linear/config.ts';
import { linearOfWhole, linearParallel, linearRecurrent } from '../linear/forms.ts';
import { linearReference } from '../linear/reference.ts';
import { whole } from '../../../files/schema-values.ts';

const yosoSchema = z.strictObject({
  kind: z.literal('yoso'),
  /** τ: hyperplanes per hash. */
  bits: collisionBitsSchema.default(defaultCollisionBits),
  convolution: convolutionField,
});

/** The configuration of YOSO attention. */
export type YosoMixer = z.infer<typeof yosoSchema>;

/** One local group that never ends. */
export function yosoBranches({ bits, convolution }: YosoMixer): LinearMixer {
  return {
    kind: 'linear',
    group: Number.POSITIVE_INFINITY,
    local: { kernel: 'yoso', bits, scale: 'none' },
    global: null,
    convolution,
    normalize: 'together',
    castling: false,
  };
}

const cross: CrossForm<YosoMixer> = {
  ...textRows(unitLength),
  read({ bits }, q, { keys, values, visible }) {
    const heads = new HeadLayout(q, Number(keys.shape[1]));
    const queries = heads.join(unitLength(heads.queries));
    const weights = collision(matmul(queries, keys, { transposeB: true }), bits); // [B,M,R*n,m]
    return heads.split(boundedLength(matmul(mul(weights, visible), values)));
  },
};

const bitsOption = {
  bits: collisionBitsSchema
    .optional()
    .describe(`bits per hash of yoso and yoso-hashed (default: ${defaultCollisionBits})`),
};

const hashesOption = {
  hashes: whole(1, 1024).optional().describe('hashes of yoso-hashed (default: 32)'),
};

export const yosoKind = {
  kind: 'yoso',
  schema: yosoSchema,
  describe: ({ bits, convolution }) => withConvolution(`yoso expectation of ${bits} bits`, convolution),
  parameters: ({ convolution }, dims) => filterParameters(convolution, dims),
  hasSurrogateGradient: () => true,
  // The arc cosine is steep at cosine 1: half an ulp of the cosine, 6e-8, becomes √(4·6e-8)/π of a half turn. Vectors of
  // two numbers often point the same way.
  float32Error: ({ bits }) => bits * 1.6e-4,
  reference: (config, positions) => linearReference(yosoBranches(config), positions),
  parallel(config, input) {
    // A convolution's banded matrix is a group squared, and this group is the whole sequence.
    const mixed = linearParallel({ ...yosoBranches(config), convolution: null }, input);
    const grouping = groupingOf(input, Number.POSITIVE_INFINITY);
    return addConvolution(config.convolution, mixed, grouping, input.v, input.parameters);
  },
  recurrent: {
    state: (config, dims) => linearRecurrent.state(yosoBranches(config), dims),
    step: (config, input) => linearRecurrent.step(yosoBranches(config), input),
    sameBits: () => 'open rows',
  },
  bidirectional: (config, input) => linearOfWhole(yosoBranches(config), input),
  cross,
  presets: {
    yoso: convolvedPreset('yoso', bitsOption),
    'yoso-hashed': convolvedPreset(
      'features',
      { ...groupOption, ...hashesOption, ...bitsOption, ...seedOption },
      ({ group, ...map }) => ({ group, map: { name: 'hashes', ...map }, output: 'unit' }),
    ),
  },
} satisfies MixerKind<YosoMixer>;
