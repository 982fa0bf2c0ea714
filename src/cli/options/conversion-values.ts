/** Option values of `convert`: steps of the stages, and layers to leave unchanged. */
import { z } from 'zod';
import type { KeptLayers } from '../../conversion/options.ts';
import { type StageSteps, trainingStageNames } from '../../conversion/stages.ts';
import { indexList, type ValueKind } from '../framework/option-values.ts';

/** Layers that keep their attention; `every` N: layers N − 1, 2N − 1, … */
type KeptChoice = KeptLayers | { readonly every: number };

export const keptLayers: ValueKind<KeptChoice> = {
  schema: z.union([
    z
      .string()
      .regex(/^every:[1-9]\d{0,3}$/)
      .transform((value) => ({ every: Number(value.slice('every:'.length)) })),
    z
      .string()
      .regex(/^auto:\d{1,4}$/)
      .transform((value) => ({ auto: Number(value.slice('auto:'.length)) })),
    indexList.schema.transform((layers) => ({ layers })),
  ]),
  expects: 'indices of layers such as 0,5, auto:N, or every:N',
  placeholder: 'layers',
};

/** The layers of a choice. @param layers the model's attention layers */
export function keptOf(choice: KeptChoice, layers: readonly number[]): KeptLayers {
  return 'every' in choice ? { layers: layers.filter((_, i) => (i + 1) % choice.every === 0) } : choice;
}

export const stageSteps: ValueKind<StageSteps> = {
  schema: z
    .string()
    .regex(/^\d{1,7},\d{1,7},\d{1,7}$/)
    .transform((value) => {
      const [transfer, logits, long] = value.split(',').map(Number);
      return { transfer, logits, long };
    }),
  expects: `optimizer steps of ${trainingStageNames.join(', ')}, such as 200,600,100`,
  placeholder: 'counts',
};
