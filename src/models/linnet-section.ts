/** The `linnet` section of config.json, the same in all families: it names the mixer of every layer. */
import { z } from 'zod';
import { type MixerConfig, mixerSchema } from '../attention/mixer.ts';

/** Absent in checkpoints that are softmax throughout. Unknown fields are refused. */
export const linnetSection = z.strictObject({ version: z.literal(1), mixers: z.array(mixerSchema) }).optional();

export type LinnetSection = z.infer<typeof linnetSection>;

/** The mixers of a configuration: softmax in every layer where there is no section. */
export function sectionMixers(section: LinnetSection, layers: number): readonly MixerConfig[] {
  return section?.mixers ?? Array.from({ length: layers }, (): MixerConfig => ({ kind: 'softmax' }));
}

/** A config.json with the section that these mixers need: none for softmax throughout. */
export function withSection(
  config: Readonly<Record<string, unknown>>,
  mixers: readonly MixerConfig[],
): Record<string, unknown> {
  const { linnet: _, ...rest } = config;
  if (mixers.every((mixer) => mixer.kind === 'softmax')) return rest;
  return { ...rest, linnet: { version: 1, mixers } };
}
