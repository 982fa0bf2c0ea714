/** How an exported folder can store its model: with one set of weights, or with one for each of two purposes. */
import { type WeightType, weightTypes } from '../quantization/weight-types.ts';

/** Names of the types for `--dtype` and in linnet.json. */
export const storageTypeNames = [...weightTypes, 'mixed'] as const;
/** How an export stores matrices. */
export type StorageType = (typeof storageTypeNames)[number];

/** Storage types of the graphs of a folder. */
export interface GraphTypes {
  /** The step graph, which decodes: single tokens and trees; Medusa heads too. */
  readonly step: WeightType;
  /** The prompt graph: the same model once more, which reads prompts. Without one, the step graph reads them. */
  readonly prompt?: WeightType;
}

/**
 * `mixed` takes for each purpose the type that is faster at it: a single token waits for the weights, of which int4 has
 * the fewest bytes, and chunks of a prompt wait for the products, of which those of w8a8 are the fastest.
 */
export const storageTypes: Readonly<Record<StorageType, GraphTypes>> = {
  f32: { step: 'f32' },
  f16: { step: 'f16' },
  w8a8: { step: 'w8a8' },
  int4: { step: 'int4' },
  mixed: { step: 'int4', prompt: 'w8a8' },
};

/** Whether a graph of the folder has blocks of weights, whose size can be chosen. */
export function hasBlocks(type: StorageType): boolean {
  const { step, prompt } = storageTypes[type];
  return step === 'int4' || prompt === 'int4';
}
