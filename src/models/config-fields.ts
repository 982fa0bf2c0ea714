/** Reads config.json by a family's schema; also allows fields without effect on the model's function. */
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { type JsonObject, isJsonObject } from '../files/json-object.ts';
import { whole } from '../files/schema-values.ts';
import { schemaProblems } from '../files/schema-problems.ts';
import type { MixerConfig } from '../attention/mixer.ts';
import { isExchangeable, mixerSchemaOf } from '../attention/mixers.ts';

/** Fields that transformers writes for every family: bookkeeping, and defaults for generation and classification heads. */
const bookkeeping = [
  '_name_or_path',
  '_commit_hash',
  'architectures',
  'transformers_version',
  'torch_dtype',
  'dtype',
  'torchscript',
  'use_bfloat16',
  'tf_legacy_loss',
  'return_dict',
  'output_hidden_states',
  'output_attentions',
  'output_past',
  'use_cache',
  'gradient_checkpointing',
  'chunk_size_feed_forward',
  'tokenizer_class',
  'prefix',
  'initializer_range',
  'attn_implementation',
  '_attn_implementation',
  '_attn_implementation_autoset',
  'is_decoder',
  'keys_to_ignore_at_inference',
  'bos_token_id',
  'eos_token_id',
  'pad_token_id',
  'sep_token_id',
  'decoder_start_token_id',
  'finetuning_task',
  'task_specific_params',
  'problem_type',
  'num_labels',
  'id2label',
  'label2id',
  'max_length',
  'min_length',
  'top_k',
  'do_sample',
  'early_stopping',
  'num_beams',
  'num_beam_groups',
  'diversity_penalty',
  'temperature',
  'top_p',
  'typical_p',
  'repetition_penalty',
  'length_penalty',
  'no_repeat_ngram_size',
  'encoder_no_repeat_ngram_size',
  'bad_words_ids',
  'num_return_sequences',
  'output_scores',
  'return_dict_in_generate',
  'forced_bos_token_id',
  'forced_eos_token_id',
  'remove_invalid_values',
  'exponential_decay_length_penalty',
  'suppress_tokens',
  'begin_suppress_tokens',
  'cross_attention_hidden_size',
  'tie_encoder_decoder',
  '_num_labels',
  'xla_device',
  'transformers.js_config',
];

/** The fields of a config.json that a family reads, and the names of unread fields that seem to change nothing. */
export type ReadFields<Schema extends z.ZodObject> = z.infer<Schema> & { readonly unknownFields: readonly string[] };

/** Most unknown fields that an error names. */
const mostNamed = 20;

/** Parts of the computation by words in a field's name. */
const computed: readonly (readonly [words: RegExp, subject: string])[] = [
  [/expert|router|moe(_|$)/, 'experts'],
  [/rope|rotary|alibi|pos(ition)?_?(emb|enc|bias)/, 'positions'],
  [/attn|attention|window|softcap|(^|_)(qk|kv|sinks?|chunk)_|lora_rank|mla_/, 'attention'],
  [/norm|bias/, 'norms and biases'],
  [/multiplier|scal(e|ing)|mup/, 'factors'],
  [/activation|hidden_act|gate|residual|parallel/, 'the layers'],
];

/** Whether a field is switched off. */
function isOff(value: unknown): boolean {
  const isEmpty = typeof value === 'object' && value !== null && Object.keys(value).length === 0;
  return isEmpty || !value;
}

/** The part of the computation that an unknown field's name suggests; undefined if it seems to change nothing. */
function subjectOf(name: string, value: unknown): string | undefined {
  return isOff(value) ? undefined : computed.find(([words]) => words.test(name))?.[1];
}

/**
 * Reads a config.json by its family's schema.
 *
 * @param family named in errors
 * @param ignored further fields that do not change the model's function, besides bookkeeping
 * @throws LinnetError `CONFIG` naming unusable fields, and unknown ones whose names suggest that they change the
 *   computation
 */
export function parseConfigFields<Schema extends z.ZodObject>(
  family: string,
  schema: Schema,
  json: JsonObject,
  ignored: readonly string[] = [],
): ReadFields<Schema> {
  const known = new Set([...Object.keys(schema.shape), ...ignored, ...bookkeeping]);
  const unknownFields = Object.keys(json).filter((name) => !known.has(name));
  const result = schema.safeParse(json);
  const problems = result.success ? [] : [schemaProblems(result.error)];
  const changing = unknownFields.filter((name) => subjectOf(name, json[name]) !== undefined).slice(0, mostNamed);
  if (changing.length > 0) problems.push(refusalOf(changing, json));
  if (!result.success || problems.length > 0) throw configError(family, problems, result.error);
  return { ...result.data, unknownFields };
}

function refusalOf(names: readonly string[], json: JsonObject): string {
  const shown = names.map((name) => `${JSON.stringify(name.slice(0, 80))} (${subjectOf(name, json[name])})`);
  const settings = names.map((name) => `--ignore ${name.slice(0, 80)}`);
  return (
    `unknown: ${shown.join(', ')}: ${names.length === 1 ? 'its name suggests that it changes' : 'their names suggest that they change'} ` +
    `what is computed; if that is wrong, leave ${names.length === 1 ? 'it' : 'them'} out by ${settings.join(' ')}`
  );
}

/** A config.json without some fields, its own and its text model's; `a.b` is field b of a. */
export function withoutFields(json: JsonObject, names: readonly string[]): JsonObject {
  return names.reduce((rest, name) => without(without(rest, name.split('.')), ['text_config', name]), json);
}

function without(json: JsonObject, [name, ...inner]: readonly string[]): JsonObject {
  if (!Object.hasOwn(json, name)) return json;
  const { [name]: value, ...rest } = json;
  return inner.length > 0 && isJsonObject(value) ? { ...json, [name]: without(value, inner) } : rest;
}

/** A width, or a number of heads, rows or tokens. */
export const size = whole(1, 1 << 24);

export const layerCount = whole(1, 4096);

/** A setting that would change the computation, at its only supported value. */
export function onlyValue<Value extends string | number | boolean | null>(value: Value, why: string) {
  const only = z.literal(value, `only ${JSON.stringify(value)} is supported: ${why}`);
  // Python treats null like false.
  return z.preprocess((given) => given ?? (value ? given : value), only).default(value);
}

/** Settings of transformers that families support only at their usual value. */
export const usualFields = {
  add_cross_attention: onlyValue(false, 'there is no encoder'),
  is_encoder_decoder: onlyValue(false, 'there is no encoder'),
  pruned_heads: z.record(z.string(), z.never('pruned heads are not supported')).default({}),
};

export const textEndFields = {
  bos_token_id: z.int().nullish(),
  eos_token_id: z.union([z.int(), z.array(z.int())]).nullish(),
};

/** Ids in `eos_token_id`'s format: one, several or none. */
export function idList(ids: number | readonly number[] | null | undefined): readonly number[] {
  return typeof ids === 'number' ? [ids] : (ids ?? []);
}

/** The fields that name a classifier's classes. */
export function labelFields(labels: readonly string[]): JsonObject {
  return {
    id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])),
    label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
  };
}

/** The error for an unusable config.json: one line per problem. */
export function configError(family: string, problems: readonly string[], cause?: unknown): LinnetError {
  return new LinnetError('CONFIG', `unusable ${family} config.json:\n${problems.join('\n')}`, { cause });
}

// config.json's `linnet` section, which names every attention's mixer.

/** Mixers of the family's own kinds, and of kinds that any model with queries, keys and values can have. */
const mixerOf = (own?: string) => mixerSchemaOf(({ family }) => family === undefined || family === own);
const commonMixer = mixerOf();

/** The section for a family with its own kinds. Absent if all layers have the family's own mixers. Refuses unknown fields. */
export const linnetSectionOf = (family?: string) =>
  z.strictObject({ version: z.literal(1), mixers: z.array(mixerOf(family)) }).optional();

/** Most families' section. */
export const linnetSection = linnetSectionOf();

/**
 * Problems of mixers that do not fit a model's layers; config.json's `field` gives their number.
 * @param natives the family's own mixer for every layer
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
          `linnet.mixers[${layer}] must be ${JSON.stringify(native)}: the layer cannot have another mixer, and no other layer can have this one`,
        ],
  );
}

/** The same entry for each layer. */
export function everyLayer<Entry>(layers: number, entry: Entry): readonly Entry[] {
  return Array.from({ length: layers }, () => entry);
}

/** A config.json with the section these mixers need: none if all are the family's own. @param natives by layer; default softmax */
export function withSection(
  config: JsonObject,
  mixers: readonly MixerConfig[],
  natives: readonly MixerConfig[] = everyLayer(mixers.length, originalMixer),
): Record<string, unknown> {
  const { linnet: _, ...rest } = config;
  if (mixers.every((mixer, layer) => isSame(mixer, natives[layer]))) return rest;
  return { ...rest, linnet: { version: 1, mixers } };
}

/** An encoder-decoder model's attentions, in the order of its mixers. */
export const attentionParts = ['encoder', 'decoder', 'cross'] as const;

/** The encoder's self-attention, the decoder's self-attention, or the decoder's attention to the encoded text. */
export type AttentionPart = (typeof attentionParts)[number];

/** The section for a model with an encoder and a decoder. Unnamed parts are softmax. */
export const encoderDecoderSection = z
  .strictObject({
    version: z.literal(1),
    encoder: z.array(commonMixer).optional(),
    decoder: z.array(commonMixer).optional(),
    cross: z.array(commonMixer).optional(),
    /**
     * Padding under the encoder's convolution: `zero`, or `read` its projections like the paper's code: results then depend
     * on it.
     */
    padding: z.enum(['zero', 'read']).optional(),
  })
  .optional();

export type EncoderDecoderSection = z.infer<typeof encoderDecoderSection>;

/** A list of mixers per part. */
export type PartMixers = Readonly<Record<AttentionPart, readonly MixerConfig[]>>;

/** An encoder-decoder configuration's mixers. */
export function partMixers(
  section: EncoderDecoderSection,
  layers: Readonly<Record<AttentionPart, number>>,
): PartMixers {
  const of = (part: AttentionPart): readonly MixerConfig[] =>
    section?.[part] ?? everyLayer(layers[part], originalMixer);
  return { encoder: of('encoder'), decoder: of('decoder'), cross: of('cross') };
}

/** A config.json with the section these mixers need: omits parts that are softmax throughout. */
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

/** Most families' mixer for a checkpoint that names none. */
export const originalMixer: MixerConfig = { kind: 'softmax' };

/**
 * Whether two configurations (plain data, defaults filled in) are equal. @param anyGroup ignores differing groups, which
 * only size the state
 */
export function isSame(a: MixerConfig, b: MixerConfig, anyGroup = false): boolean {
  const written = (config: MixerConfig): string =>
    JSON.stringify(config, (name, value: unknown) => (anyGroup && name === 'group' ? undefined : value));
  return written(a) === written(b);
}
