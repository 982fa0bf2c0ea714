/**
 * The encoder's variants: BERT (arXiv 1810.04805); RoBERTa (arXiv 1907.11692) and XLM-RoBERTa (arXiv 1911.02116), whose
 * positions begin after the padding row and whose segments do not distinguish texts; DistilBERT (arXiv 1910.01108), BERT
 * without segments and pooler.
 */
import type { Activation } from '../activations.ts';

/** Token prediction: a linear layer, its activation, a norm, the matrix of logits and their bias. */
interface TokenHead {
  readonly dense: string;
  /** Default: the model's. */
  readonly activation?: Activation;
  readonly norm: string;
  readonly decoder: string;
  readonly bias: string;
}

/** Class prediction from the first token. */
interface ClassHead {
  readonly dense: string;
  readonly activation: Activation;
  readonly classes: string;
}

/** How a family differs from the others. */
export interface EncoderVariant {
  readonly family: string;
  /** Its name in errors. */
  readonly title: string;
  /** The prefix of Hugging Face's classes. */
  readonly className: string;
  /** The module that holds embeddings and layers. */
  readonly root: string;
  /** Its layers' module. */
  readonly layers: string;
  /** A layer's modules. */
  readonly names: Readonly<
    Record<
      'attention' | 'query' | 'key' | 'value' | 'attentionOutput' | 'attentionNorm' | 'inner' | 'output' | 'outputNorm',
      string
    >
  >;
  readonly tokenHead: TokenHead;
  readonly classHead: ClassHead;
  /** The pooler, whether or not a head reads it. Default: none. */
  readonly pooler?: string;
  /** Whether positions begin in the row after the padding token's. */
  readonly positionsAfterPadding?: boolean;
  /** SEP tokens between two texts. Default 1. */
  readonly separators?: number;
}

const bertNames: EncoderVariant['names'] = {
  attention: 'attention.self',
  query: 'query',
  key: 'key',
  value: 'value',
  attentionOutput: 'attention.output.dense',
  attentionNorm: 'attention.output.LayerNorm',
  inner: 'intermediate.dense',
  output: 'output.dense',
  outputNorm: 'output.LayerNorm',
};

export const bertVariant: EncoderVariant = {
  family: 'bert',
  title: 'BERT',
  className: 'Bert',
  root: 'bert',
  layers: 'encoder.layer',
  names: bertNames,
  tokenHead: {
    dense: 'cls.predictions.transform.dense',
    norm: 'cls.predictions.transform.LayerNorm',
    decoder: 'cls.predictions.decoder',
    bias: 'cls.predictions.bias',
  },
  classHead: { dense: 'bert.pooler.dense', activation: 'tanh', classes: 'classifier' },
  pooler: 'bert.pooler.dense',
};

export const robertaVariant: EncoderVariant = {
  family: 'roberta',
  title: 'RoBERTa',
  className: 'Roberta',
  root: 'roberta',
  layers: 'encoder.layer',
  names: bertNames,
  tokenHead: {
    dense: 'lm_head.dense',
    activation: 'gelu',
    norm: 'lm_head.layer_norm',
    decoder: 'lm_head.decoder',
    bias: 'lm_head.bias',
  },
  classHead: { dense: 'classifier.dense', activation: 'tanh', classes: 'classifier.out_proj' },
  pooler: 'roberta.pooler.dense',
  positionsAfterPadding: true,
  separators: 2,
};

export const xlmRobertaVariant: EncoderVariant = {
  ...robertaVariant,
  family: 'xlm-roberta',
  title: 'XLM-RoBERTa',
  className: 'XLMRoberta',
};

export const distilBertVariant: EncoderVariant = {
  family: 'distilbert',
  title: 'DistilBERT',
  className: 'DistilBert',
  root: 'distilbert',
  layers: 'transformer.layer',
  names: {
    attention: 'attention',
    query: 'q_lin',
    key: 'k_lin',
    value: 'v_lin',
    attentionOutput: 'attention.out_lin',
    attentionNorm: 'sa_layer_norm',
    inner: 'ffn.lin1',
    output: 'ffn.lin2',
    outputNorm: 'output_layer_norm',
  },
  tokenHead: {
    dense: 'vocab_transform',
    norm: 'vocab_layer_norm',
    decoder: 'vocab_projector',
    bias: 'vocab_projector.bias',
  },
  classHead: { dense: 'pre_classifier', activation: 'relu', classes: 'classifier' },
};
