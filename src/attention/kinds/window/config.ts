/** Configuration of window attention: the positions read row by row, and the memory of the rest. */
import { z } from 'zod';
import { convolutionField, filterParameters } from '../../convolution-config.ts';
import type { AttentionDims, MixerParameter } from '../../mixer.ts';
import { defaultGroup, groupSchema } from '../../preset.ts';
import { sinkLogitField, sinkLogitParameters } from '../../sink-logits.ts';
import { isLearnedMap, mapParameters, positiveMaps } from '../features/maps.ts';
import { whole } from '../../../files/schema-values.ts';

export const memorySchema = z.strictObject({
  /** φ. */
  map: z.discriminatedUnion('name', positiveMaps).default({ name: 'balanced' }),
  /**
   * Factor on a group's weight per later group: `fixed`, e^(−2^(−8(m+1)/M)) for key-value head m of M, as Lightning
   * attention has it; `learned`, e^(−e^r) with a learned r per key-value head.
   */
  decay: z.enum(['none', 'fixed', 'learned']).default('none'),
});

/** The memory's feature maps by name; `none` for a window alone. */
export const memoryNames = ['none', 'learned', 'hedgehog', 'elu', 'relu'] as const;

/** The memory of the positions older than the window. */
export type WindowMemory = z.infer<typeof memorySchema>;

export const defaultWindow = 2;
export const defaultSinks = 4;

export const windowSchema = z.strictObject({
  kind: z.literal('window'),
  /** G: positions per group. */
  group: groupSchema.default(defaultGroup),
  /** W: groups read row by row, including the current one. With G = 1, a number of positions. */
  window: whole(1, 1048576).default(defaultWindow),
  /** s: the first positions of a text, which every position reads row by row. */
  sinks: whole(0, 1024).default(defaultSinks),
  /** Null: positions older than the window are forgotten. */
  memory: memorySchema.nullable().default(null),
  convolution: convolutionField,
  /** A learned logit per head in the denominator. */
  sinkLogit: sinkLogitField,
});

/** The configuration of the window kind. */
export type WindowMixer = z.infer<typeof windowSchema>;

/** Added to the score of the memory, per query head [H]: ln β. */
export const memoryScoreName = 'memory_score';
/** r of a learned decay, per key-value head [M]. */
export const memoryDecayName = 'memory_decay';

export function windowParameters(config: WindowMixer, dims: AttentionDims): MixerParameter[] {
  const { memory, convolution } = config;
  const { heads, keyValueHeads } = dims;
  const others = [...sinkLogitParameters(config, dims), ...filterParameters(convolution, dims)];
  if (memory === null) return others;
  return [
    ...(isLearnedMap(memory.map) ? mapParameters(dims) : []),
    { name: memoryScoreName, shape: [heads], init: 'faint' },
    ...(memory.decay === 'learned' ? [{ name: memoryDecayName, shape: [keyValueHeads], init: 'faint' } as const] : []),
    ...others,
  ];
}

/** The logarithm of a fixed decay, for each of M key-value heads. */
export function fixedDecay(keyValueHeads: number): Float64Array {
  return Float64Array.from({ length: keyValueHeads }, (_, head) => -(2 ** ((-8 * (head + 1)) / keyValueHeads)));
}

/**
 * Values to try for r: decays whose memory reaches a half to a sixteenth of the training texts' length. A longer memory
 * would read keys from distances whose rotations the model has never seen.
 */
export function decayCandidates(group: number, trainedLength: number): number[] {
  return [2, 4, 8, 16].map((share) => Math.log((share * group) / trainedLength));
}
