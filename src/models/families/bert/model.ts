/**
 * BERT (Devlin et al., arXiv 1810.04805): every position reads the whole text. Token, position and segment embeddings,
 * post-norm blocks with biases, a masked-LM head tied to the table of tokens, a classifier on the first token.
 */
import { mixBidirectional } from '../../../attention/mixers.ts';
import { LinnetError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { add } from '../../../graph/ops/elementwise.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import { layerNorm } from '../../../graph/ops/normalization.ts';
import { int32 } from '../../../graph/tensor.ts';
import { biasedLinear, embedding, linear } from '../../../nn/linear.ts';
import { type ParameterSource, scoped } from '../../../nn/parameters.ts';
import { LearnedPositions } from '../../../nn/positions.ts';
import { withSection } from '../../linnet-section.ts';
import type { EncoderInput, EncoderModel } from '../../model.ts';
import { mixerParameterValues } from '../../graphs/parallel-graph.ts';
import { bertClassifierParameters, bertClassLogits } from './classifier.ts';
import { activations } from '../activations.ts';
import { sizesOf } from '../family.ts';
import { type BertConfig, parseBertConfig } from './config.ts';
import {
  bertAttentionPrefix,
  bertBlockPrefix,
  bertParameterName,
  bertParameters,
  poolerParameters,
  predictionName,
} from './parameters.ts';

/** The model of a config.json, with the head that `architectures` names. @throws LinnetError `CONFIG` as `parseBertConfig` does */
export function bertModel(json: Readonly<Record<string, unknown>>): EncoderModel {
  return describe(parseBertConfig(json));
}

/**
 * The same encoder as a classifier: pooler and classifier replace its head.
 *
 * @param labels names of the classes, in their order
 * @throws LinnetError `CONFIG` for an empty list
 */
export function bertClassifier(model: EncoderModel, labels: readonly string[]): EncoderModel {
  const { num_labels: _, ...json } = model.toJson();
  return bertModel({
    ...json,
    architectures: ['BertForSequenceClassification'],
    num_labels: labels.length,
    id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])),
    label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
  });
}

function describe(config: BertConfig): EncoderModel {
  const model: EncoderModel = {
    family: 'bert',
    kind: 'encoder',
    sizes: sizesOf(config),
    mixers: config.mixers,
    parameters: bertParameters(config),
    optionalParameters: config.head === 'classifier' ? undefined : poolerParameters(config.width),
    eosIds: [],
    unknownFields: config.unknownFields,
    toJson: () => withSection(savedJson(config), config.mixers),
    withMixers: (mixers) => bertModel({ ...config.raw, linnet: { version: 1, mixers } }),
    encode: (source, input) => encode(model, config, source, input),
    head: (source, hidden) => predictions(config, source, hidden),
    attentionPrefix: bertAttentionPrefix,
    asClassifier(labels) {
      const own = bertClassifier(model, labels);
      const { length: classes } = labels;
      return {
        model: own,
        className: 'Bert',
        head: bertClassifierParameters(own, classes),
        logits: (source, texts) => bertClassLogits(own, source, texts, classes),
      };
    },
    parameterName: (stored) => bertParameterName(stored, config.head, config.tiedHead),
  };
  return model;
}

/** config.json without the next-sentence head of pre-training. */
function savedJson({ raw, head }: BertConfig): Readonly<Record<string, unknown>> {
  return head === 'masked-lm' && Array.isArray(raw.architectures)
    ? { ...raw, architectures: ['BertForMaskedLM'] }
    : raw;
}

function encode(model: EncoderModel, config: BertConfig, source: ParameterSource, input: EncoderInput): Value {
  let x = embed(config, source, input); // [B,n,width]
  for (let layer = 0; layer < config.layers; layer++) {
    source.graph.cutAt(x);
    const block = scoped(source, bertBlockPrefix(layer));
    const parameters = mixerParameterValues(model, source, layer);
    const mixed = attention(config, scoped(block, 'attention.self'), x, (projected) =>
      mixBidirectional(config.mixers[layer], projected, input.mask, parameters),
    );
    x = added(config, scoped(block, 'attention.output'), mixed, config.width, x);
    const inner = biasedLinear(block, 'intermediate.dense', x, config.width, config.feedForwardWidth);
    x = added(config, scoped(block, 'output'), activations[config.activation](inner), config.feedForwardWidth, x);
  }
  source.graph.cutAt(x);
  return x;
}

/** Sum of three tables, normalized. Padding has embeddings like any token: nothing reads them. [B,n,width] */
function embed(config: BertConfig, source: ParameterSource, { tokens, segments }: EncoderInput): Value {
  const { width, vocabulary, trainedLength: positions } = config;
  const { graph } = source;
  const length = Number(tokens.shape[1]);
  const row = new LearnedPositions(positions).at(
    Array.from({ length }, (_, i) => i),
    1,
    length,
  );
  const tables = scoped(source, 'bert.embeddings');
  const first = (): Value => graph.constant(int32([1, 1], [0]));
  const words = embedding(tables, 'word_embeddings', tokens, vocabulary, width);
  const places = embedding(tables, 'position_embeddings', graph.constant(row.positions), positions, width); // [1,n,width]
  const texts = embedding(tables, 'token_type_embeddings', segments ?? first(), config.segments, width);
  return norm(config, tables, add(add(words, texts), places));
}

/** Queries, keys and values, mixed: [B,n,width]. The following projection belongs to the block. */
function attention(
  { width, heads }: BertConfig,
  source: ParameterSource,
  x: Value,
  mix: (projected: { q: Value; k: Value; v: Value }) => Value,
): Value {
  const [B, n] = x.shape;
  const project = (name: string): Value =>
    reshape(biasedLinear(source, name, x, width, width), [B, n, heads, width / heads]); // [B,n,H,D]
  return reshape(mix({ q: project('query'), k: project('key'), v: project('value') }), [B, n, width]);
}

/** Post-norm: LayerNorm(x + W·branch + b), the end of both halves of a block. */
function added(config: BertConfig, source: ParameterSource, branch: Value, inputs: number, x: Value): Value {
  return norm(config, source, add(x, biasedLinear(source, 'dense', branch, inputs, config.width)));
}

function norm({ width, normEpsilon }: BertConfig, source: ParameterSource, x: Value): Value {
  const gain = source.parameter('LayerNorm.weight', [width]);
  return layerNorm(x, gain, source.parameter('LayerNorm.bias', [width]), normEpsilon);
}

/** Logits of the token at every position. @throws LinnetError `CONFIG` for a folder without that head */
function predictions(config: BertConfig, source: ParameterSource, hidden: Value): Value {
  const { head, width, vocabulary, tiedHead, activation } = config;
  if (head !== 'masked-lm') {
    const what = head === 'classifier' ? 'a text classifier' : 'a bare encoder';
    throw new LinnetError(
      'CONFIG',
      `this BERT is ${what} and does not predict tokens; that needs a folder whose architectures name BertForMaskedLM`,
    );
  }
  const scope = scoped(source, predictionName);
  const transform = scoped(scope, 'transform');
  const dense = biasedLinear(transform, 'dense', hidden, width, width);
  const inner = norm(config, transform, activations[activation](dense));
  const table = tiedHead ? 'bert.embeddings.word_embeddings' : `${predictionName}.decoder`;
  return add(linear(source, table, inner, width, vocabulary), scope.parameter('bias', [vocabulary]));
}
