/** Reading config.json by the schema of a family; fields without effect on the model's function are allowed, too. */
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { schemaProblems } from '../files/schema-problems.ts';

/** Fields that transformers writes for every family: bookkeeping, defaults of generation and of classification heads. */
const bookkeeping = [
  ...['_name_or_path', '_commit_hash', 'architectures', 'transformers_version', 'torch_dtype', 'dtype', 'torchscript'],
  ...['use_bfloat16', 'tf_legacy_loss', 'return_dict', 'output_hidden_states', 'output_attentions', 'output_past'],
  ...[
    'use_cache',
    'gradient_checkpointing',
    'chunk_size_feed_forward',
    'tokenizer_class',
    'prefix',
    'initializer_range',
  ],
  ...[
    'attn_implementation',
    '_attn_implementation',
    '_attn_implementation_autoset',
    'is_decoder',
    'keys_to_ignore_at_inference',
  ],
  ...['bos_token_id', 'eos_token_id', 'pad_token_id', 'sep_token_id', 'decoder_start_token_id', 'finetuning_task'],
  ...[
    'task_specific_params',
    'problem_type',
    'num_labels',
    'id2label',
    'label2id',
    'max_length',
    'min_length',
    'top_k',
  ],
  ...['do_sample', 'early_stopping', 'num_beams', 'num_beam_groups', 'diversity_penalty', 'temperature', 'top_p'],
  ...['typical_p', 'repetition_penalty', 'length_penalty', 'no_repeat_ngram_size', 'encoder_no_repeat_ngram_size'],
  ...['bad_words_ids', 'num_return_sequences', 'output_scores', 'return_dict_in_generate', 'forced_bos_token_id'],
  ...['forced_eos_token_id', 'remove_invalid_values', 'exponential_decay_length_penalty', 'suppress_tokens'],
  ...[
    'begin_suppress_tokens',
    'cross_attention_hidden_size',
    'tie_encoder_decoder',
    '_num_labels',
    'xla_device',
    'transformers.js_config',
  ],
];

/**
 * Reads a config.json by the schema of its family.
 *
 * @param family for errors
 * @param ignored fields besides the schema's and the bookkeeping ones that do not change the model's function
 * @throws LinnetError `CONFIG` naming the unknown fields, or the unusable ones
 */
export function parseConfigFields<Schema extends z.ZodObject>(
  family: string,
  schema: Schema,
  json: Readonly<Record<string, unknown>>,
  ignored: readonly string[] = [],
): z.infer<Schema> {
  const used = Object.keys(schema.shape);
  const known = new Set([...used, ...ignored, ...bookkeeping]);
  const unknown = Object.keys(json).filter((name) => !known.has(name));
  if (unknown.length > 0) {
    const names = unknown.map((name) => JSON.stringify(name.slice(0, 80))).join(', ');
    throw configError(family, [`unknown: ${names}; fields that are used: ${used.join(', ')}`]);
  }
  const result = schema.safeParse(json);
  if (!result.success) throw configError(family, [schemaProblems(result.error)], result.error);
  return result.data;
}

/** A width, or a number of heads, rows or tokens. */
export const size = z
  .int()
  .min(1)
  .max(1 << 24);

export const layerCount = z.int().min(1).max(4096);

/** A setting that would change the computation, at the only value that is supported. */
export function onlyValue<Value extends string | number | boolean | null>(value: Value, why: string) {
  return z.literal(value, `only ${JSON.stringify(value)} is supported: ${why}`).default(value);
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

/** The error for an unusable config.json: one line per problem. */
export function configError(family: string, problems: readonly string[], cause?: unknown): LinnetError {
  return new LinnetError('CONFIG', `unusable ${family} config.json:\n${problems.join('\n')}`, { cause });
}
