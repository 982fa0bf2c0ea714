/** GPT-2's config.json, the `linnet` section we add to it, and tensor names. */
import { z } from 'zod';
import {
  configError,
  idList,
  layerCount,
  linnetSection,
  mixerProblems,
  onlyValue,
  parseConfigFields,
  everyLayer,
  originalMixer,
  size,
  textEndFields,
  usualFields,
} from '../../config-fields.ts';
import type { Activation } from '../activations.ts';
import type { FamilyConfig } from '../family.ts';
import type { JsonObject } from '../../../files/json-object.ts';
import { onByDefault, positiveNumber } from '../../../files/schema-values.ts';

const gpt2Schema = z.looseObject({
  model_type: z.literal('gpt2'),
  vocab_size: size.default(50257),
  n_positions: size.default(1024),
  n_embd: size.default(768),
  n_layer: layerCount.default(12),
  n_head: size.default(12),
  n_inner: size.nullish(),
  activation_function: z.enum(['gelu', 'gelu_new', 'gelu_pytorch_tanh', 'relu', 'silu', 'tanh']).default('gelu_new'),
  layer_norm_epsilon: positiveNumber.max(1).default(1e-5),
  tie_word_embeddings: onByDefault,
  scale_attn_weights: onlyValue(true, 'scores are divided by √D'),
  scale_attn_by_inverse_layer_idx: onlyValue(false, 'scores are divided by √D'),
  linnet: linnetSection,
  ...textEndFields,
  ...usualFields,
});

/** Dropout is for training and off here; mixed precision and the summary head change no logits. */
const ignored = [
  'resid_pdrop',
  'embd_pdrop',
  'attn_pdrop',
  'n_ctx',
  'reorder_and_upcast_attn',
  'summary_type',
  'summary_use_proj',
  'summary_activation',
  'summary_proj_to_labels',
  'summary_first_dropout',
];

/** `trainedLength` counts the rows of the position table: the longest text the model can read. */
export interface Gpt2Config extends FamilyConfig {
  readonly activation: Activation;
}

/** Checks a parsed config.json. @throws LinnetError `CONFIG` naming every unusable or unknown field and the supported values */
export function parseGpt2Config(json: JsonObject): Gpt2Config {
  const config = parseConfigFields('GPT-2', gpt2Schema, json, ignored);
  const natives = everyLayer(config.n_layer, originalMixer);
  const mixers = config.linnet?.mixers ?? natives;
  const problems: string[] = [];
  if (config.n_embd % config.n_head !== 0) {
    problems.push(`n_head ${config.n_head} does not divide n_embd ${config.n_embd}`);
  }
  problems.push(...mixerProblems(mixers, natives, 'n_layer'));
  if (problems.length > 0) throw configError('GPT-2', problems);
  return {
    raw: json,
    unknownFields: config.unknownFields,
    vocabulary: config.vocab_size,
    trainedLength: config.n_positions,
    width: config.n_embd,
    feedForwardWidth: config.n_inner ?? 4 * config.n_embd,
    layers: config.n_layer,
    heads: config.n_head,
    keyValueHeads: config.n_head,
    headWidth: config.n_embd / config.n_head,
    activation: config.activation_function,
    normEpsilon: config.layer_norm_epsilon,
    tiedHead: config.tie_word_embeddings,
    bosId: config.bos_token_id ?? undefined,
    eosIds: idList(config.eos_token_id),
    mixers,
  };
}

/** The prefix that checkpoints of the bare backbone, such as the first published ones, omit. */
const prefix = 'transformer.';
const withoutPrefix = /^(wte|wpe|ln_f|h\.\d+)\./;

/** Causal masks stored as buffers. */
const buffers = /^transformer\.h\.\d+\.attn\.(bias|masked_bias)$/;

/** Names in linearized checkpoints by the paper's code, which also has a second filter that it never uses. */
const paperMixers: Readonly<Record<string, string | undefined>> = {
  alpha: 'global_factor',
  'dconv_ada.weight': 'dwconv.weight',
  'dconv_ada2.weight': undefined,
};
const attentionTensor = /^(transformer\.h\.\d+\.attn)\.(.+)$/;

/**
 * The parameter in a stored tensor; undefined for stored masks, a tied head's copy and the paper's unused filter. Names
 * other than GPT-2's are returned unchanged.
 */
export function gpt2ParameterName(stored: string, tiedHead: boolean): string | undefined {
  if (tiedHead && stored === 'lm_head.weight') return undefined;
  const name = withoutPrefix.test(stored) ? prefix + stored : stored;
  if (buffers.test(name)) return undefined;
  const [, attention, rest = ''] = attentionTensor.exec(name) ?? [];
  if (!Object.hasOwn(paperMixers, rest)) return name;
  const renamed = paperMixers[rest];
  return renamed === undefined ? undefined : `${attention}.${renamed}`;
}
