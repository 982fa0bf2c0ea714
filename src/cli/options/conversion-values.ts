/** Values of options of `convert`: steps of the stages, and which layers stay as they are. */
import { z } from 'zod';
import type { KeptLayers } from '../../conversion/options.ts';
import { type StageSteps, trainingStageNames } from '../../conversion/stages.ts';
import { indexList, type ValueKind } from '../framework/option-values.ts';

export const keptLayers: ValueKind<KeptLayers> = {
  schema: z.union([
    z
      .string()
      .regex(/^auto:\d{1,4}$/)
      .transform((given) => ({ auto: Number(given.slice('auto:'.length)) })),
    indexList.schema.transform((layers) => ({ layers })),
  ]),
  expects: 'indices of layers such as 0,5, or auto:N',
  placeholder: 'layers',
};

export const stageSteps: ValueKind<StageSteps> = {
  schema: z
    .string()
    .regex(/^\d{1,7},\d{1,7},\d{1,7}$/)
    .transform((given) => {
      const [transfer, logits, long] = given.split(',').map(Number);
      return { transfer, logits, long };
    }),
  expects: `optimizer steps of ${trainingStageNames.join(', ')}, such as 200,600,100`,
  placeholder: 'counts',
};
