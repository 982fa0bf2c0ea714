/** Values of options of `convert`: times, sizes, and which layers stay as they are. */
import { z } from 'zod';
import type { KeptLayers } from '../../conversion/options.ts';
import { type StageSteps, trainingStageNames } from '../../conversion/stages.ts';
import { indexList, type ValueKind } from '../framework/option-values.ts';

const timeUnits: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };
const byteUnits: Readonly<Record<string, number>> = { b: 1, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3 };

/** A number and its unit, as a number of the unit that counts 1. */
function withUnit(units: Readonly<Record<string, number>>): z.ZodType<number, string> {
  const pattern = new RegExp(`^(\\d{1,9}(?:\\.\\d{1,9})?)\\s*(${Object.keys(units).join('|')})$`, 'i');
  return z
    .string()
    .regex(pattern)
    .transform((given) => {
      const [, number, unit] = pattern.exec(given) ?? [];
      return Number(number) * units[unit.toLowerCase()];
    });
}

/** Seconds. */
export const duration: ValueKind<number> = {
  schema: withUnit(timeUnits),
  expects: 'a time such as 90s, 10m or 2h',
  placeholder: 'time',
};

/** Bytes. */
export const byteSize: ValueKind<number> = {
  schema: withUnit(byteUnits),
  expects: 'a size such as 64KiB or 2MiB',
  placeholder: 'bytes',
};

/** Layers that keep softmax. */
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

/** Optimizer steps of the stages, in their order. */
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
