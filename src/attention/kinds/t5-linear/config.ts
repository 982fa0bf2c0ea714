/** Configuration of the linear kind in the paper's T5 form, and conversions between the two forms. */
import { z } from 'zod';
import { convolutionField } from '../../convolution-config.ts';
import type { MixerConfig } from '../../mixer.ts';
import { defaultGroup, groupSchema } from '../../preset.ts';
import { globalField, type LinearMixer, linearSchema, localField } from '../linear/config.ts';

export const t5LinearSchema = z
  .strictObject({
    kind: z.literal('t5-linear'),
    /** G. */
    group: groupSchema.default(defaultGroup),
    local: localField,
    global: globalField,
    convolution: convolutionField,
    /**
     * Values under an encoder's convolution at padded positions. `zero`: none. `read`: the projections of the padding tokens,
     * as in the paper's code; the result for a text then depends on its padding.
     */
    padding: z.enum(['zero', 'read']).default('zero'),
  })
  .refine(({ local, global }) => local !== null || global !== null, 'T5 needs a local or a global branch');

/** Grouped linear attention of T5. */
export type T5LinearMixer = z.infer<typeof t5LinearSchema>;

/** Problems of a mixer of the linear kind in T5; none for all others. */
export function t5Problems(mixer: MixerConfig): string[] {
  const linear = linearSchema.safeParse(mixer);
  if (!linear.success) return [];
  const { castling, normalize, local, global } = linear.data;
  return [
    ...(castling || normalize !== null
      ? ['castling and normalize are not defined for T5, which normalizes values and outputs']
      : []),
    ...(local === null && global === null
      ? ['it has a convolution alone; T5 needs a local or a global branch next to it']
      : []),
  ];
}

/** T5's form of `mixer`: the linear kind is converted, all others are unchanged. */
export function t5Form(mixer: MixerConfig, padding: T5LinearMixer['padding']): MixerConfig {
  const linear = linearSchema.safeParse(mixer);
  if (!linear.success) return mixer;
  const { group, local, global, convolution } = linear.data;
  return t5LinearSchema.parse({ kind: 't5-linear', group, local, global, convolution, padding });
}

/** The inverse of `t5Form`: the form written to config.json. */
export function plainForm(mixer: MixerConfig): MixerConfig {
  const own = t5LinearSchema.safeParse(mixer);
  if (!own.success) return mixer;
  const { group, local, global, convolution } = own.data;
  const plain: LinearMixer = { kind: 'linear', group, local, global, convolution, normalize: null, castling: false };
  return plain;
}
