/** config.json of BERT checkpoints, and the `linnet` section we add to it. */
import { z } from 'zod';
import { configError, layerCount, onlyValue, parseConfigFields, size, usualFields } from '../../config-fields.ts';
import { linnetSection, mixerProblems, sameMixers } from '../../linnet-section.ts';
import type { Activation } from '../activations.ts';
import type { FamilyConfig } from '../family.ts';

/** `masked-lm` predicts masked tokens, `classifier` a class of the text from its first token; `none`: the encoder alone. */
export type BertHead = 'masked-lm' | 'classifier' | 'none';

/** `architectures` → head. Of the model for pre-training, the head that tells whether sentences follow is left out. */
const heads: Readonly<Record<string, BertHead>> = {
  BertForMaskedLM: 'masked-lm',
  BertForPreTraining: 'masked-lm',
  BertForSequenceClassification: 'classifier',
  BertModel: 'none',
};

const bertSchema = z.looseObject({
  model_type: z.literal('bert'),
  architectures: z.array(z.string()).nullish(),
  vocab_size: size.default(30522),
  hidden_size: size.default(768),
  num_hidden_layers: layerCount.default(12),
  num_attention_heads: size.default(12),
  intermediate_size: size.default(3072),
  hidden_act: z.enum(['gelu', 'gelu_python', 'gelu_new', 'gelu_pytorch_tanh', 'relu', 'silu', 'swish']).default('gelu'),
  max_position_embeddings: size.default(512),
  type_vocab_size: size.default(2),
  layer_norm_eps: z.number().positive().default(1e-12),
  tie_word_embeddings: z.boolean().default(true),
  num_labels: size.nullish(),
  id2label: z.record(z.string(), z.string()).nullish(),
  linnet: linnetSection,
  ...usualFields,
  position_embedding_type: onlyValue('absolute', 'positions are rows of a learned table'),
  is_decoder: onlyValue(false, 'every position reads the whole text'),
  add_cross_attention: onlyValue(false, 'there is one text'),
  is_encoder_decoder: onlyValue(false, 'there is no decoder'),
});

/** Dropout is for training and off here; the pooler is the same one whatever further fields of some folders say. */
const ignored = [
  ...['hidden_dropout_prob', 'attention_probs_dropout_prob', 'classifier_dropout', 'directionality'],
  ...['pooler_fc_size', 'pooler_num_attention_heads', 'pooler_num_fc_layers', 'pooler_size_per_head', 'pooler_type'],
];

/** Classes of a classifier whose folder names none, as in transformers. */
const defaultClasses = 2;

/** `trainedLength` counts the rows of the table of positions: the longest text the model can read. */
export interface BertConfig extends FamilyConfig {
  readonly head: BertHead;
  /** Rows of the table of segments. */
  readonly segments: number;
  readonly activation: Activation;
  /** Of the classifier; 2 where the folder says nothing. */
  readonly classes: number;
}

/** Checks a parsed config.json. @throws LinnetError `CONFIG` naming every unusable or unknown field and the supported values */
export function parseBertConfig(json: Readonly<Record<string, unknown>>): BertConfig {
  const config = parseConfigFields('BERT', bertSchema, json, ignored);
  const natives = sameMixers(config.num_hidden_layers);
  const mixers = config.linnet?.mixers ?? natives;
  const architectures = config.architectures ?? [];
  const architecture = architectures.length === 0 ? 'BertForMaskedLM' : architectures[0];
  const head = Object.hasOwn(heads, architecture) ? heads[architecture] : undefined;
  const labels = Object.keys(config.id2label ?? {});
  const { hidden_size: width, num_attention_heads: count } = config;
  const problems: string[] = [];
  if (head === undefined) {
    const known = Object.keys(heads).join(', ');
    problems.push(`architectures names ${JSON.stringify(architecture.slice(0, 80))}; supported: ${known}`);
  }
  if (width % count !== 0) problems.push(`num_attention_heads ${count} does not divide hidden_size ${width}`);
  if (labels.some((label) => !/^(0|[1-9]\d*)$/.test(label) || Number(label) >= labels.length)) {
    problems.push(`id2label must name the classes 0 to ${labels.length - 1}, each once`);
  }
  const classes = config.num_labels ?? (labels.length > 0 ? labels.length : defaultClasses);
  if (labels.length > 0 && classes !== labels.length) {
    problems.push(`num_labels is ${classes}, id2label names ${labels.length}`);
  }
  problems.push(...mixerProblems(mixers, natives, 'num_hidden_layers'));
  if (head === undefined || problems.length > 0) throw configError('BERT', problems);
  return {
    raw: json,
    unknownFields: config.unknownFields,
    head,
    vocabulary: config.vocab_size,
    trainedLength: config.max_position_embeddings,
    segments: config.type_vocab_size,
    width,
    feedForwardWidth: config.intermediate_size,
    layers: config.num_hidden_layers,
    ...{ heads: count, keyValueHeads: count, headWidth: width / count },
    activation: config.hidden_act,
    normEpsilon: config.layer_norm_eps,
    tiedHead: config.tie_word_embeddings,
    classes,
    mixers,
    eosIds: [],
  };
}
