/** The interface of presets, and options that several kinds share. */
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { whole } from '../files/schema-values.ts';
import { validated } from '../files/schema-problems.ts';
import { defaultKernel } from './convolution-config.ts';
import type { MixerPreset, PresetShape } from './mixer.ts';

/** A preset with the given options, all optional. */
export function definePreset<Shape extends PresetShape>(
  shape: Shape,
  make: (options: z.infer<z.ZodObject<Shape>>) => object,
): MixerPreset<Shape> {
  return {
    shape,
    make(options) {
      return make(validated(z.object(shape), options, 'CONFIG', 'invalid options of a mixer'));
    },
  };
}

/** G of the paper's language-model recipes. */
export const defaultGroup = 64;

/** Positions per group. */
export const groupSchema = whole(1, 65536);

/** The option `group`. */
export const groupOption = {
  group: groupSchema.optional().describe(`G, positions per group (default: ${defaultGroup})`),
};

const kernelSchema = whole(1, 65535)
  .optional()
  .describe(`K, odd length of the convolution, which reads (K−1)/2 positions back (default: ${defaultKernel})`);

const unmasked = z
  .boolean()
  .optional()
  .describe('let the convolution read the future, to demonstrate the leak; such a model cannot decode');

/** Options for presets that always have a convolution. */
export const ownConvolutionOptions = { kernel: kernelSchema, unmasked };

/** Options for presets that can have a convolution. */
export const convolutionOptions = {
  convolution: z.boolean().optional().describe('add the masked convolution to a mixer that has none'),
  ...ownConvolutionOptions,
};

/** Decay of the memory. */
export const decayOption = {
  decay: z
    .enum(['none', 'fixed', 'learned', 'data'])
    .optional()
    .describe(
      'decay of the memory: window attention decays with every group (default: none), gated mixers with every ' +
        'position, optionally depending on the data (default: data)',
    ),
};

/** Seeds random features and hashes: layers with different seeds get different ones. */
export const seedOption = {
  seed: whole(0, 0xffffffff)
    .optional()
    .describe('seed of random features and hashes; another seed redraws them (default: 0)'),
};

type ConvolutionOptions = z.infer<z.ZodObject<typeof convolutionOptions>>;

/** The field `convolution` that the options ask for. */
export function convolutionFrom({ convolution = false, kernel, unmasked: future = false }: ConvolutionOptions) {
  if (convolution) return { kernel, masked: !future };
  if (!future) return null;
  throw new LinnetError('CONFIG', 'unmasked refines the convolution, which this mixer does not have; add it');
}

/**
 * A preset that can have a convolution.
 * @param shape its other options
 * @param fieldsOf makes the kind's other fields from the options. Default: copies them
 */
export function convolvedPreset<Shape extends PresetShape>(
  kind: string,
  shape: Shape,
  fieldsOf: (options: z.infer<z.ZodObject<Shape>>) => object = (options) => options,
): MixerPreset<Shape & typeof convolutionOptions> {
  return definePreset({ ...shape, ...convolutionOptions }, (options) => {
    const convolution = convolutionFrom(z.object(convolutionOptions).parse(options));
    return { kind, ...fieldsOf(z.object(shape).parse(options)), convolution };
  });
}
