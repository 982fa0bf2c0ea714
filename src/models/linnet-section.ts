/** The `linnet` section of config.json: it names the mixer of every attention. */
import { z } from 'zod';
import type { MixerConfig } from '../attention/mixer.ts';
import { isExchangeable, mixerSchemaOf } from '../attention/mixers.ts';
import type { JsonObject } from '../files/json-object.ts';

/** Mixers of the kinds that any model with queries, keys and values can have, and of the family's own. */
const mixerOf = (own?: string) => mixerSchemaOf(({ family }) => family === undefined || family === own);
const commonMixer = mixerOf();

/** The section of a family that has kinds of its own. Absent where all layers have the family's own mixers. Unknown fields are refused. */
export const linnetSectionOf = (family?: string) =>
  z.strictObject({ version: z.literal(1), mixers: z.array(mixerOf(family)) }).optional();

/** The section of most families. */
export const linnetSection = linnetSectionOf();

/**
 * Problems of mixers that do not fit the layers of a model; `field` of config.json gives their number.
 * @param natives the family's own mixer of every layer
 */
export function mixerProblems(
  mixers: readonly MixerConfig[],
  natives: readonly MixerConfig[],
  field: string,
): string[] {
  if (mixers.length !== natives.length) {
    return [`linnet.mixers names ${mixers.length} layers, ${field} is ${natives.length}`];
  }
  return natives.flatMap((native, layer) =>
    isSame(native, mixers[layer], true) || (isExchangeable(native) && isExchangeable(mixers[layer]))
      ? []
      : [
          `linnet.mixers[${layer}] must be ${JSON.stringify(native)}: the layer cannot have another, or another layer this one`,
        ],
  );
}

/** The family's own mixers, where all layers have the same. */
export function sameMixers(layers: number, native: MixerConfig = originalMixer): readonly MixerConfig[] {
  return Array.from({ length: layers }, () => native);
}

/** A config.json with the section that these mixers need: none where all are the family's own. @param natives by layer; default softmax */
export function withSection(
  config: JsonObject,
  mixers: readonly MixerConfig[],
  natives: readonly MixerConfig[] = sameMixers(mixers.length),
): Record<string, unknown> {
  const { linnet: _, ...rest } = config;
  if (mixers.every((mixer, layer) => isSame(mixer, natives[layer]))) return rest;
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
  const of = (part: AttentionPart): readonly MixerConfig[] => section?.[part] ?? sameMixers(layers[part]);
  return { encoder: of('encoder'), decoder: of('decoder'), cross: of('cross') };
}

/** A config.json with the section that these mixers need: parts that are softmax throughout are not named. */
export function withPartSection(
  config: JsonObject,
  mixers: PartMixers,
  padding: 'zero' | 'read',
): Record<string, unknown> {
  const { linnet: _, ...rest } = config;
  const named = attentionParts.filter((part) => !mixers[part].every((mixer) => isSame(mixer, originalMixer)));
  if (named.length === 0) return rest;
  const parts = Object.fromEntries(named.map((part) => [part, mixers[part]]));
  return { ...rest, linnet: { version: 1, ...parts, ...(padding === 'read' && { padding }) } };
}

/** The mixer of a checkpoint that names none, in most families. */
export const originalMixer: MixerConfig = { kind: 'softmax' };

/** Configurations are plain data with their defaults filled in. @param anyGroup whether groups may differ, which are sizes of the state */
export function isSame(a: MixerConfig, b: MixerConfig, anyGroup = false): boolean {
  const written = (config: MixerConfig): string =>
    JSON.stringify(config, (name, value: unknown) => (anyGroup && name === 'group' ? undefined : value));
  return written(a) === written(b);
}
