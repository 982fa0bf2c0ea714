/**
 * Models that also read pictures: config.json holds the text model in `text_config`. Only the text model is read, and
 * written to its own folder.
 */
import { z } from 'zod';
import type { JsonObject } from '../../files/json-object.ts';
import { parseConfigFields, textEndFields } from '../config-fields.ts';
import type { Model } from '../model.ts';

/** The text model's type, if `text_config` names none. */
interface TextPart {
  readonly type: string;
  /** That type's class. */
  readonly architecture: string;
}

const llama: TextPart = { type: 'llama', architecture: 'LlamaForCausalLM' };

/** By `model_type`. */
export const containers: Readonly<Record<string, TextPart>> = {
  gemma3: { type: 'gemma3_text', architecture: 'Gemma3ForCausalLM' },
  idefics3: llama,
  lfm2_vl: { type: 'lfm2', architecture: 'Lfm2ForCausalLM' },
  mistral3: { type: 'mistral', architecture: 'MistralForCausalLM' },
  smolvlm: llama,
};

const schema = z.object({
  model_type: z.string(),
  text_config: z.record(z.string(), z.unknown()),
  tie_word_embeddings: z.boolean().nullish(),
  vocab_size: z.unknown().optional(),
  ...textEndFields,
});

/** Fields on pictures. */
const ofPictures =
  /vision|image|video|audio|projector|pixel|patch|tile|thumbnail|downsample|spatial_merge|scale_factor|mm_|[be]oi_/;

/** Tensors of other parts, and prefixes of the text model with their names in its own folder. */
const otherTensor = /^(model\.)?(vision_tower|vision_model|multi_modal_projector|connector)\./;
const textPrefixes: readonly (readonly [stored: RegExp, own: string])[] = [
  [/^language_model\.(?=model\.|lm_head\.)/, ''],
  [/^model\.(language|text)_model\./, 'model.'],
];

/**
 * A container's text model; the container's own fields on end tokens and head override those in its `text_config`.
 * @param describe makes the model of a text model's config.json
 * @throws LinnetError `CONFIG` like `describe`, and for fields next to `text_config` that change the computation
 */
export function textModel(json: JsonObject, part: TextPart, describe: (json: JsonObject) => Model): Model {
  const pictures = Object.keys(json).filter((name) => ofPictures.test(name));
  const { text_config: text, ...around } = parseConfigFields(String(json.model_type), schema, json, pictures);
  const { tie_word_embeddings: tied, eos_token_id: eos, bos_token_id: bos } = around;
  const type = text.model_type ?? part.type;
  const model = describe({
    ...text,
    model_type: type,
    architectures: text.architectures ?? (type === part.type ? [part.architecture] : undefined),
    bos_token_id: bos ?? text.bos_token_id,
    eos_token_id: eos ?? text.eos_token_id,
    tie_word_embeddings: tied ?? text.tie_word_embeddings,
  });
  return {
    ...model,
    unknownFields: [...around.unknownFields, ...(model.unknownFields ?? [])],
    parameterName: (stored) =>
      otherTensor.test(stored)
        ? undefined
        : model.parameterName(textPrefixes.reduce((name, [prefix, own]) => name.replace(prefix, own), stored)),
  };
}
