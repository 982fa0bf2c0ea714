/** The `linnet` section of config.json: it names the mixer of every attention. */
import { z } from 'zod';
import type { MixerConfig } from '../attention/mixer.ts';
import { mixerSchemaOf } from '../attention/mixers.ts';

/** Mixers of the kinds that any model with queries, keys and values can have. */
const commonMixer = mixerSchemaOf(({ family }) => family === undefined);

/** Absent in checkpoints that are softmax throughout. Unknown fields are refused. */
export const linnetSection = z.strictObject({ version: z.literal(1), mixers: z.array(commonMixer) }).optional();

export type LinnetSection = z.infer<typeof linnetSection>;

/** The mixers of a configuration: the family's own in every layer where there is no section. */
export function sectionMixers(
  section: LinnetSection,
  layers: number,
  native: MixerConfig = originalMixer,
): readonly MixerConfig[] {
  return section?.mixers ?? Array.from({ length: layers }, () => native);
}

/** Problems of a section that does not name one mixer per layer; `field` of config.json gives the number of layers. */
export function mixerCountProblems(named: number, layers: number, field: string): string[] {
  return named === layers ? [] : [`linnet.mixers names ${named} layers, ${field} is ${layers}`];
}

/** A config.json with the section that these mixers need: none where all are the family's own. */
export function withSection(
  config: Readonly<Record<string, unknown>>,
  mixers: readonly MixerConfig[],
  native: MixerConfig = originalMixer,
): Record<string, unknown> {
  const { linnet: _, ...rest } = config;
  if (mixers.every((mixer) => JSON.stringify(mixer) === JSON.stringify(native))) return rest;
  return { ...rest, linnet: { version: 1, mixers } };
}

/** The attentions of an encoder-decoder model, in the order in which it lists its mixers. */
export const attentionParts = ['encoder', 'decoder', 'cross'] as const;

/** Self-attention of the encoder, self-attention of the decoder, or the decoder's attention to the encoded text. */
export type AttentionPart = (typeof attentionParts)[number];

/** The section of a model with an encoder and a decoder. A part that it does not name is softmax. */
export const encoderDecoderSection = z
  .strictObject({
    version: z.literal(1),
    encoder: z.array(commonMixer).optional(),
    decoder: z.array(commonMixer).optional(),
    cross: z.array(commonMixer).optional(),
    /** Padding under the encoder's convolution: `zero`, or `read` its projections, as the paper's code: results depend on it. */
    padding: z.enum(['zero', 'read']).optional(),
  })
  .optional();

export type EncoderDecoderSection = z.infer<typeof encoderDecoderSection>;

/** One list of mixers for each part. */
export type PartMixers = Readonly<Record<AttentionPart, readonly MixerConfig[]>>;

/** The mixers of an encoder-decoder configuration. */
export function partMixers(
  section: EncoderDecoderSection,
  layers: Readonly<Record<AttentionPart, number>>,
): PartMixers {
  const of = (part: AttentionPart): readonly MixerConfig[] => section?.[part] ?? softmaxThroughout(layers[part]);
  return { encoder: of('encoder'), decoder: of('decoder'), cross: of('cross') };
}

/** A config.json with the section that these mixers need: parts that are softmax throughout are not named. */
export function withPartSection(
  config: Readonly<Record<string, unknown>>,
  mixers: PartMixers,
  padding: 'zero' | 'read',
): Record<string, unknown> {
  const { linnet: _, ...rest } = config;
  const named = attentionParts.filter((part) => !mixers[part].every(isOriginal));
  if (named.length === 0) return rest;
  const parts = Object.fromEntries(named.map((part) => [part, mixers[part]]));
  return { ...rest, linnet: { version: 1, ...parts, ...(padding === 'read' && { padding }) } };
}

/** The mixer of a checkpoint that names none, in most families. */
export const originalMixer: MixerConfig = { kind: 'softmax' };

function isOriginal(mixer: MixerConfig): boolean {
  return JSON.stringify(mixer) === JSON.stringify(originalMixer);
}

function softmaxThroughout(layers: number): readonly MixerConfig[] {
  return Array.from({ length: layers }, () => originalMixer);
}
