/** Configuration of gated linear attention. */
import { z } from 'zod';
import { convolutionField, filterParameters, withConvolution } from '../../convolution-config.ts';
import type { AttentionDims, MixerParameter } from '../../mixer.ts';
import { defaultGroup, groupSchema } from '../../preset.ts';
import { keyMapName, queryMapName } from '../features/maps.ts';
import { decayParameters, decaySchema, describeDecay } from './decay.ts';
import { gainParameter } from './gain.ts';
import { describeRows, hasLearnedMap, isPositive, rowMapSchema } from './rows.ts';

export const gatedSchema = z
  .strictObject({
    kind: z.literal('gated'),
    /** Positions per chunk. It is a size of the computation and of the state; the result does not depend on it. */
    group: groupSchema.default(defaultGroup),
    /** φ of queries and keys. */
    map: rowMapSchema.default({ name: 'hedgehog' }),
    decay: decaySchema.exclude(['none']).default('data'),
    /**
     * `ratio`: divided by the sum of the weights, which only maps have whose features are positive. `rms`: every head is
     * divided by its root mean square. `none`: the sum as it is. The last two have a learned gain per query head.
     */
    output: z.enum(['ratio', 'rms', 'none']).default('ratio'),
    convolution: convolutionField,
  })
  .refine(({ map, output }) => output !== 'ratio' || isPositive(map), {
    message: 'a ratio needs positive features: choose another map, or output rms or none',
    path: ['output'],
  });

/** Gated linear attention. */
export type GatedMixer = z.infer<typeof gatedSchema>;

const outputNames: Readonly<Record<GatedMixer['output'], string>> = {
  ratio: '',
  rms: ' and rms norm',
  none: ', not normalized',
};

/** "gated hedgehog with learned decay + convolution 63, G = 64". */
export function describeGated({ map, decay, output, convolution, group }: GatedMixer): string {
  const text = `gated ${describeRows(map)} with ${describeDecay(decay)}${outputNames[output]}`;
  return `${withConvolution(text, convolution)}, G = ${group}`;
}

export function gatedParameters(
  { map, decay, output, convolution }: GatedMixer,
  dims: AttentionDims,
): MixerParameter[] {
  const { heads, keyValueHeads, headWidth: D } = dims;
  const maps: MixerParameter[] = [
    { name: queryMapName, shape: [heads, D, D], init: 'identity' },
    { name: keyMapName, shape: [keyValueHeads, D, D], init: 'identity' },
  ];
  return [
    ...(hasLearnedMap(map) ? maps : []),
    ...decayParameters(decay, dims),
    ...(output === 'ratio' ? [] : [gainParameter(dims)]),
    ...filterParameters(convolution, dims),
  ];
}
