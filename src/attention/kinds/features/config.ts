/** Configuration of linear attention through a feature map. */
import { z } from 'zod';
import { convolutionField, withConvolution } from '../../convolution-config.ts';
import { defaultGroup, groupSchema } from '../../preset.ts';
import { describeFeatureMap, featureMapSchema } from './maps.ts';

export const featuresSchema = z.strictObject({
  kind: z.literal('features'),
  /** Positions per chunk. It is a size of the computation and of the state; the result does not depend on it. */
  group: groupSchema.default(defaultGroup),
  map: featureMapSchema,
  /**
   * `ratio`: divided by Σ⟨φ(q),φ(k)⟩. `rms`: no denominator; the output of every head is divided by its root mean
   * square. `unit`: no denominator; divided by 1e-5 plus its length.
   */
  output: z.enum(['ratio', 'rms', 'unit']).default('ratio'),
  convolution: convolutionField,
});

/** Linear attention through a feature map. */
export type FeaturesMixer = z.infer<typeof featuresSchema>;

const outputNames: Readonly<Record<FeaturesMixer['output'], string>> = {
  ratio: '',
  rms: ' with rms norm',
  unit: ' of unit length',
};

/** "performer 64 + convolution 63, G = 64". */
export function describeFeatures({ map, output, convolution, group }: FeaturesMixer): string {
  return `${withConvolution(`${describeFeatureMap(map)}${outputNames[output]}`, convolution)}, G = ${group}`;
}
