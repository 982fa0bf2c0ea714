/** The linear kind in the form that the paper gives it in T5, as it is configured, and how the two become each other. */
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
     * What the convolution of an encoder finds in place of padding. `zero`: nothing. `read`: what the padding tokens were
     * projected to, as the paper's code does; the result for a text then depends on what it is padded with.
     */
    padding: z.enum(['zero', 'read']).default('zero'),
  })
  .refine(({ local, global }) => local !== null || global !== null, 'T5 needs a local or a global branch');

/** Grouped linear attention of T5. */
export type T5LinearMixer = z.infer<typeof t5LinearSchema>;

/** What T5 cannot use of a mixer of the linear kind; of all others nothing. */
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

/** The mixer that stands for `mixer` in T5: the linear kind in T5's form, every other as it is. */
export function t5Form(mixer: MixerConfig, padding: T5LinearMixer['padding']): MixerConfig {
  const linear = linearSchema.safeParse(mixer);
  if (!linear.success) return mixer;
  const { group, local, global, convolution } = linear.data;
  return t5LinearSchema.parse({ kind: 't5-linear', group, local, global, convolution, padding });
}

/** The inverse of `t5Form`: what is written to config.json. */
export function plainForm(mixer: MixerConfig): MixerConfig {
  const own = t5LinearSchema.safeParse(mixer);
  if (!own.success) return mixer;
  const { group, local, global, convolution } = own.data;
  const plain: LinearMixer = { kind: 'linear', group, local, global, convolution, normalize: null, castling: false };
  return plain;
}
