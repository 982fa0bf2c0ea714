/** config.json of BERT checkpoints, and the `linnet` section we add to it. */
import { z } from 'zod';
import type { MixerConfig } from '../../../attention/mixer.ts';
import type { Value } from '../../../graph/graph.ts';
import { gelu, geluTanh } from '../../../graph/ops/gelu.ts';
import { relu, silu } from '../../../graph/ops/elementwise.ts';
import { configError, parseConfigFields } from '../../config-fields.ts';
import { linnetSection, mixerProblems, sameMixers } from '../../linnet-section.ts';

/** Activations of the feed-forward and of the masked-LM head by their names in config.json. */
const activations = {
  gelu,
  gelu_python: gelu,
  gelu_new: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  relu,
  silu,
  swish: silu,
} as const satisfies Readonly<Record<string, (x: Value) => Value>>;

export type BertActivation = keyof typeof activations;

/** The activation of a name. */
export function bertActivation(name: BertActivation): (x: Value) => Value {
  return activations[name];
}

/** `masked-lm` predicts masked tokens, `classifier` a class of the text from its first token; `none`: the encoder alone. */
export type BertHead = 'masked-lm' | 'classifier' | 'none';

/** `architectures` → head. Of the model for pre-training, the head that tells whether sentences follow is left out. */
const heads: Readonly<Record<string, BertHead>> = {
  BertForMaskedLM: 'masked-lm',
  BertForPreTraining: 'masked-lm',
  BertForSequenceClassification: 'classifier',
  BertModel: 'none',
};

const size = z
  .int()
  .min(1)
  .max(1 << 24);

/** Settings that would change the computation, at the only value we compute. */
const fixed = {
  position_embedding_type: z
    .literal('absolute', 'only "absolute" is supported: positions are rows of a learned table')
    .default('absolute'),
  is_decoder: z.literal(false, 'only false is supported: every position reads the whole text').default(false),
  add_cross_attention: z.literal(false, 'only false is supported: there is one text').default(false),
  is_encoder_decoder: z.literal(false, 'only false is supported: there is no decoder').default(false),
  pruned_heads: z.record(z.string(), z.never('pruned heads are not supported')).default({}),
};

const bertSchema = z.looseObject({
  model_type: z.literal('bert'),
  architectures: z.array(z.string()).nullish(),
  vocab_size: size.default(30522),
  hidden_size: size.default(768),
  num_hidden_layers: z.int().min(1).max(4096).default(12),
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
  ...fixed,
});

/** Dropout is for training and off here; the pooler is the same one whatever further fields of some folders say. */
const ignored = [
  ...['hidden_dropout_prob', 'attention_probs_dropout_prob', 'classifier_dropout', 'directionality'],
  ...['pooler_fc_size', 'pooler_num_attention_heads', 'pooler_num_fc_layers', 'pooler_size_per_head', 'pooler_type'],
];

/** Classes of a classifier whose folder names none, as in transformers. */
const defaultClasses = 2;

/** A checked configuration; fields that we do not use stay in `raw`. */
export interface BertConfig {
  readonly raw: Readonly<Record<string, unknown>>;
  readonly head: BertHead;
  readonly vocabulary: number;
  /** Rows of the table of positions: the longest text the model can read. */
  readonly positions: number;
  /** Rows of the table of segments. */
  readonly segments: number;
  readonly width: number;
  readonly feedForwardWidth: number;
  readonly layers: number;
  readonly heads: number;
  readonly activation: BertActivation;
  readonly normEpsilon: number;
  /** Whether the masked-LM head multiplies by the table of tokens. */
  readonly tiedHead: boolean;
  /** Of the classifier; 2 where the folder says nothing. */
  readonly classes: number;
  readonly mixers: readonly MixerConfig[];
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
  const problems: string[] = [];
  if (head === undefined) {
    const known = Object.keys(heads).join(', ');
    problems.push(`architectures names ${JSON.stringify(architecture.slice(0, 80))}; supported: ${known}`);
  }
  if (config.hidden_size % config.num_attention_heads !== 0) {
    problems.push(
      `num_attention_heads ${config.num_attention_heads} does not divide hidden_size ${config.hidden_size}`,
    );
  }
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
    head,
    vocabulary: config.vocab_size,
    positions: config.max_position_embeddings,
    segments: config.type_vocab_size,
    width: config.hidden_size,
    feedForwardWidth: config.intermediate_size,
    layers: config.num_hidden_layers,
    heads: config.num_attention_heads,
    activation: config.hidden_act,
    normEpsilon: config.layer_norm_eps,
    tiedHead: config.tie_word_embeddings,
    classes,
    mixers,
  };
}
