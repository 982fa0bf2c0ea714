/** Reading config.json by the schema of a family; fields without effect on the model's function are allowed, too. */
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { type JsonObject, isJsonObject } from '../files/json-object.ts';
import { whole } from '../files/schema-values.ts';
import { schemaProblems } from '../files/schema-problems.ts';
import type { MixerConfig } from '../attention/mixer.ts';
import { isExchangeable, mixerSchemaOf } from '../attention/mixers.ts';

/** Fields that transformers writes for every family: bookkeeping, defaults of generation and of classification heads. */
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

/** The fields of a config.json that a family reads, and the names of those that nothing reads and that seem to change nothing. */
export type ReadFields<Schema extends z.ZodObject> = z.infer<Schema> & { readonly unknownFields: readonly string[] };

/** Unknown fields that an error names at most. */
const mostNamed = 20;

/** Subjects of computation by words of a field's name. */
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

/** The subject of computation that an unknown field is about, by its name; undefined for one that seems to change nothing. */
function subjectOf(name: string, value: unknown): string | undefined {
  return isOff(value) ? undefined : computed.find(([words]) => words.test(name))?.[1];
}

/**
 * Reads a config.json by the schema of its family.
 *
 * @param family for errors
 * @param ignored fields besides the schema's and the bookkeeping ones that do not change the model's function
 * @throws LinnetError `CONFIG` naming the unusable fields, and the unknown ones whose names say that they change the computation
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
    `unknown: ${shown.join(', ')}: ${names.length === 1 ? 'its name says that it changes' : 'their names say that they change'} ` +
    `what is computed; where that is not so, leave ${names.length === 1 ? 'it' : 'them'} out by ${settings.join(' ')}`
  );
}

/** A config.json without some fields, of itself and of its text model; `a.b` is field b of a. */
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

/** A setting that would change the computation, at the only value that is supported. */
export function onlyValue<Value extends string | number | boolean | null>(value: Value, why: string) {
  const only = z.literal(value, `only ${JSON.stringify(value)} is supported: ${why}`);
  // In Python, null is as good as false.
  return z.preprocess((given) => given ?? (value ? given : value), only).default(value);
}

/** Settings of transformers that no family supports, but at their usual value. */
export const usualFields = {
  add_cross_attention: onlyValue(false, 'there is no encoder'),
  is_encoder_decoder: onlyValue(false, 'there is no encoder'),
  pruned_heads: z.record(z.string(), z.never('pruned heads are not supported')).default({}),
};

export const textEndFields = {
  bos_token_id: z.int().nullish(),
  eos_token_id: z.union([z.int(), z.array(z.int())]).nullish(),
};

/** Ids as `eos_token_id` has them: one, several or none. */
export function idList(ids: number | readonly number[] | null | undefined): readonly number[] {
  return typeof ids === 'number' ? [ids] : (ids ?? []);
}

/** The fields that name the classes of a classifier. */
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

// The `linnet` section of config.json: it names the mixer of every attention.

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

/** The same entry for each layer. */
export function everyLayer<Entry>(layers: number, entry: Entry): readonly Entry[] {
  return Array.from({ length: layers }, () => entry);
}

/** A config.json with the section that these mixers need: none where all are the family's own. @param natives by layer; default softmax */
export function withSection(
  config: JsonObject,
  mixers: readonly MixerConfig[],
  natives: readonly MixerConfig[] = everyLayer(mixers.length, originalMixer),
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
  const of = (part: AttentionPart): readonly MixerConfig[] =>
    section?.[part] ?? everyLayer(layers[part], originalMixer);
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
