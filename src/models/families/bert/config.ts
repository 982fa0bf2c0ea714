/** config.json of BERT and its variants, and the `linnet` section we add to it. */
import { z } from 'zod';
import {
  configError,
  layerCount,
  linnetSection,
  mixerProblems,
  onlyValue,
  parseConfigFields,
  everyLayer,
  originalMixer,
  size,
  usualFields,
} from '../../config-fields.ts';
import type { Activation } from '../activations.ts';
import type { FamilyConfig } from '../family.ts';
import { bertVariant, distilBertVariant, type EncoderVariant, robertaVariant, xlmRobertaVariant } from './variants.ts';
import type { JsonObject } from '../../../files/json-object.ts';
import { onByDefault, positiveNumber, whole } from '../../../files/schema-values.ts';

/**
 * `masked-lm` predicts masked tokens, `classifier` the text's class from its first token; `answers` (the ends of an answer
 * in the text) is not computed; `none`: the encoder alone.
 */
export type BertHead = 'masked-lm' | 'classifier' | 'answers' | 'none';

/** A class's task → head. The pre-training model's next-sentence head is left out. */
const heads: Readonly<Record<string, BertHead>> = {
  ForMaskedLM: 'masked-lm',
  ForPreTraining: 'masked-lm',
  ForSequenceClassification: 'classifier',
  ForQuestionAnswering: 'answers',
  Model: 'none',
};

const activation = z.enum(['gelu', 'gelu_python', 'gelu_new', 'gelu_pytorch_tanh', 'relu', 'silu', 'swish']);

/** All variants' fields. */
const commonFields = {
  architectures: z.array(z.string()).nullish(),
  max_position_embeddings: size.default(512),
  num_labels: size.nullish(),
  id2label: z.record(z.string(), z.string()).nullish(),
  linnet: linnetSection,
  ...usualFields,
  is_decoder: onlyValue(false, 'every position reads the whole text'),
  add_cross_attention: onlyValue(false, 'there is one text'),
  is_encoder_decoder: onlyValue(false, 'there is no decoder'),
};

const bertFields = {
  ...commonFields,
  hidden_size: size.default(768),
  num_hidden_layers: layerCount.default(12),
  num_attention_heads: size.default(12),
  intermediate_size: size.default(3072),
  hidden_act: activation.default('gelu'),
  type_vocab_size: size.default(2),
  layer_norm_eps: positiveNumber.max(1).default(1e-12),
  tie_word_embeddings: onByDefault,
  position_embedding_type: onlyValue('absolute', 'positions are rows of a learned table'),
};

const robertaFields = { ...bertFields, pad_token_id: whole(0, 65536).default(1) };

const distilBertSchema = z.looseObject({
  ...commonFields,
  model_type: z.literal('distilbert'),
  vocab_size: size.default(30522),
  dim: size.default(768),
  hidden_dim: size.default(3072),
  n_layers: layerCount.default(6),
  n_heads: size.default(12),
  activation: activation.default('gelu'),
  tie_word_embeddings: onByDefault,
});

/**
 * Dropout is for training and off here; the pooler does not depend on the fields that some folders add; sinusoids are only
 * initial values of positions.
 */
const ignored = [
  'hidden_dropout_prob',
  'attention_probs_dropout_prob',
  'classifier_dropout',
  'directionality',
  'pooler_fc_size',
  'pooler_num_attention_heads',
  'pooler_num_fc_layers',
  'pooler_size_per_head',
  'pooler_type',
];
const ignoredOfDistilBert = [
  'attention_dropout',
  'dropout',
  'qa_dropout',
  'seq_classif_dropout',
  'sinusoidal_pos_embds',
  'tie_weights_',
];

/** Classes of a classifier whose folder names none, as in transformers. */
const defaultClasses = 2;

/** `trainedLength` counts the positions: the longest text the model can read. */
export interface BertConfig extends FamilyConfig {
  readonly variant: EncoderVariant;
  readonly head: BertHead;
  /** Rows of the position table before the first position. */
  readonly firstPosition: number;
  /** Rows of the segment table; 0 for none. */
  readonly segments: number;
  readonly activation: Activation;
  /** The classifier's; 2 if the folder does not say. */
  readonly classes: number;
}

/** Fields that a variant derives from config.json's. */
type OwnSizes = Pick<BertConfig, 'width' | 'layers' | 'heads' | 'feedForwardWidth' | 'segments' | 'activation'> & {
  readonly normEpsilon: number;
  /** Names of width, heads and layers. */
  readonly names: readonly [width: string, heads: string, layers: string];
};

/**
 * Checks a config.json of any variant.
 * @throws LinnetError `CONFIG` listing every wrong or unsupported field
 */
export function parseBertConfig(json: JsonObject): BertConfig {
  const family = String(json.model_type);
  return (Object.hasOwn(parsers, family) ? parsers[family] : parsers.bert)(json);
}

/** Reads config.json of a variant with BERT's fields. @param vocabulary default of `vocab_size` */
function usual(variant: EncoderVariant, vocabulary: number, own: typeof bertFields = bertFields) {
  const schema = z.looseObject({
    ...own,
    model_type: z.literal(variant.family),
    vocab_size: size.default(vocabulary),
  });
  return (json: JsonObject): BertConfig => {
    const fields = parseConfigFields(variant.title, schema, json, ignored);
    return encoderConfig(variant, json, fields, {
      width: fields.hidden_size,
      layers: fields.num_hidden_layers,
      heads: fields.num_attention_heads,
      feedForwardWidth: fields.intermediate_size,
      segments: fields.type_vocab_size,
      activation: fields.hidden_act,
      normEpsilon: fields.layer_norm_eps,
      names: ['hidden_size', 'num_attention_heads', 'num_hidden_layers'],
    });
  };
}

const parsers: Readonly<Record<string, (json: JsonObject) => BertConfig>> = {
  bert: usual(bertVariant, 30522),
  roberta: usual(robertaVariant, 50265, robertaFields),
  'xlm-roberta': usual(xlmRobertaVariant, 30522, robertaFields),
  distilbert(json) {
    const fields = parseConfigFields(distilBertVariant.title, distilBertSchema, json, ignoredOfDistilBert);
    return encoderConfig(distilBertVariant, json, fields, {
      width: fields.dim,
      layers: fields.n_layers,
      heads: fields.n_heads,
      feedForwardWidth: fields.hidden_dim,
      segments: 0,
      activation: fields.activation,
      normEpsilon: 1e-12,
      names: ['dim', 'n_heads', 'n_layers'],
    });
  },
};

type CommonFields = z.infer<z.ZodObject<typeof commonFields>> & {
  readonly vocab_size: number;
  readonly tie_word_embeddings: boolean;
  readonly pad_token_id?: unknown;
  readonly unknownFields: readonly string[];
};

function encoderConfig(
  variant: EncoderVariant,
  json: JsonObject,
  fields: CommonFields,
  { names, ...sizes }: OwnSizes,
): BertConfig {
  const { width, layers, heads: count } = sizes;
  const natives = everyLayer(layers, originalMixer);
  const mixers = fields.linnet?.mixers ?? natives;
  const [architecture = `${variant.className}ForMaskedLM`] = fields.architectures ?? [];
  const task = architecture.startsWith(variant.className) ? architecture.slice(variant.className.length) : '';
  const head = Object.hasOwn(heads, task) ? heads[task] : undefined;
  const labels = Object.keys(fields.id2label ?? {});
  const problems: string[] = [];
  if (head === undefined) {
    const known = Object.keys(heads).map((name) => variant.className + name);
    problems.push(`architectures names ${JSON.stringify(architecture.slice(0, 80))}; supported: ${known.join(', ')}`);
  }
  if (width % count !== 0) problems.push(`${names[1]} ${count} does not divide ${names[0]} ${width}`);
  if (labels.some((label) => !/^(0|[1-9]\d*)$/.test(label) || Number(label) >= labels.length)) {
    problems.push(`id2label must name the classes 0 to ${labels.length - 1}, each once`);
  }
  const classes = fields.num_labels ?? (labels.length > 0 ? labels.length : defaultClasses);
  if (labels.length > 0 && classes !== labels.length) {
    problems.push(`num_labels is ${classes}, id2label names ${labels.length}`);
  }
  const firstPosition = variant.positionsAfterPadding === true ? Number(fields.pad_token_id) + 1 : 0;
  if (firstPosition >= fields.max_position_embeddings) {
    problems.push(`max_position_embeddings ${fields.max_position_embeddings} leaves no position after padding`);
  }
  problems.push(...mixerProblems(mixers, natives, names[2]));
  if (head === undefined || problems.length > 0) throw configError(variant.title, problems);
  return {
    raw: json,
    unknownFields: fields.unknownFields,
    variant,
    head,
    vocabulary: fields.vocab_size,
    trainedLength: fields.max_position_embeddings - firstPosition,
    firstPosition,
    ...sizes,
    keyValueHeads: count,
    headWidth: width / count,
    tiedHead: fields.tie_word_embeddings,
    classes,
    mixers,
    eosIds: [],
  };
}
