/**
 * Mistral (Jiang et al., arXiv 2310.06825): LLaMA's decoder whose position i reads the positions j with 0 ≤ i − j < w, where
 * w is `sliding_window`. In Linnet that is a mixer, which can be exchanged like any other.
 */
import { z } from 'zod';
import { mixerPreset } from '../../../attention/presets.ts';
import { type DecoderVariant, decoderFields, parseDecoderConfig, size } from '../decoder/config.ts';
import { decoderModel } from '../decoder/model.ts';
import { originalMixer } from '../../linnet-section.ts';
import type { CausalModel } from '../../model.ts';

const variant: DecoderVariant = { family: 'mistral', title: 'Mistral', className: 'Mistral' };

const mistralSchema = z.object({
  ...decoderFields,
  model_type: z.literal('mistral'),
  max_position_embeddings: size.default(131_072),
  // Elsewhere its absence means as many as there are query heads, in Mistral's own code 8.
  num_key_value_heads: size,
  /** w; null reads the whole past. The default is transformers' own. */
  sliding_window: z.int().min(1).max(1_048_576).nullable().default(4096),
});

/** The model of a config.json. @throws LinnetError `CONFIG` naming every unusable or unknown field */
export function mistralModel(json: Readonly<Record<string, unknown>>): CausalModel {
  const config = parseDecoderConfig(variant, mistralSchema, json, [], ({ sliding_window: window }) =>
    window === null ? originalMixer : mixerPreset('sliding-window', { window }),
  );
  return decoderModel(config, mistralModel);
}
