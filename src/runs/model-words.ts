/** A short description of a record's model. The record is not trusted: unreadable fields are left out. */
import { z } from 'zod';
import { describeMixer, parseMixer } from '../attention/mixers.ts';
import { LinnetError } from '../errors.ts';
import { attentionParts } from '../models/config-fields.ts';

/** Layers whose mixers are looked at. */
const mostLayers = 256;

const layersSchema = z.array(z.record(z.string(), z.unknown())).max(mostLayers);
const kindSchema = z.object({ kind: z.string().max(64) });
const size = z.number().optional();
const configSchema = z.looseObject({
  model_type: z.string().max(64),
  num_hidden_layers: size,
  hidden_size: size,
  n_layer: size,
  n_embd: size,
  num_layers: size,
  d_model: size,
  linnet: z
    .looseObject({ mixers: layersSchema.optional() })
    .extend(Object.fromEntries(attentionParts.map((part) => [part, layersSchema.optional()])))
    .optional(),
});

/** Family with layers and width; the mixers. @param config the model's configuration, as the record holds it */
export function modelWords(config: unknown): { readonly model?: string; readonly mixer?: string } {
  const parsed = configSchema.safeParse(config);
  if (!parsed.success) return {};
  const { model_type: family, linnet, ...sizes } = parsed.data;
  const layers = sizes.num_hidden_layers ?? sizes.n_layer ?? sizes.num_layers;
  const width = sizes.hidden_size ?? sizes.n_embd ?? sizes.d_model;
  const model = layers === undefined || width === undefined ? family : `${family}, ${layers} × ${width}`;
  const lists = [linnet?.mixers, ...attentionParts.map((part) => linnet?.[part])];
  const named = lists.flatMap((list) => (Array.isArray(list) ? list : []));
  const described = new Set(named.flatMap((mixer: unknown) => mixerWords(mixer)));
  if (described.size > 0) return { model, mixer: [...described].join('; ') };
  // Without a section, a family has the mixers it was made with.
  return { model, mixer: family === 'flash' ? 'gau' : 'softmax' };
}

function mixerWords(mixer: unknown): string[] {
  try {
    return [describeMixer(parseMixer(mixer))];
  } catch (error) {
    if (!(error instanceof LinnetError)) throw error;
    const named = kindSchema.safeParse(mixer); // a kind registered elsewhere
    return named.success ? [named.data.kind] : [];
  }
}
