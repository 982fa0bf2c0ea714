/**
 * BERT (Devlin et al., arXiv 1810.04805) and its variants: every position reads the whole text. Token, position and segment
 * embeddings, post-norm blocks with biases, a masked-LM head tied to the token table, a classifier on the first token.
 */
import { mixBidirectional } from '../../../attention/mixers.ts';
import { LinnetError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { add } from '../../../graph/ops/elementwise.ts';
import { reshape, slice } from '../../../graph/ops/layout.ts';
import { dataOf, int32 } from '../../../graph/tensor.ts';
import { biasedLinear, embedding, inHeads, linear, namedLayerNorm } from '../../../nn/linear.ts';
import { ParameterList, type ParameterSource, scoped } from '../../../nn/parameters.ts';
import { learnedPositions } from '../../../nn/positions.ts';
import { labelFields, withSection } from '../../config-fields.ts';
import type { ClassifierParts, EncoderInput, EncoderModel } from '../../model.ts';
import { mixerParameterValues } from '../../graphs/parallel-graph.ts';
import { activations } from '../activations.ts';
import { sizesOf } from '../family.ts';
import { type BertConfig, parseBertConfig } from './config.ts';
import {
  addClassifier,
  bertAttentionPrefix,
  bertBlockPrefix,
  bertParameterName,
  bertParameters,
  poolerParameters,
} from './parameters.ts';
import type { EncoderVariant } from './variants.ts';
import type { JsonObject } from '../../../files/json-object.ts';

/** The model with a classifier instead of its head: a linear layer, its activation and a linear classifier on the first token. */
function classifierOf(model: EncoderModel, variant: EncoderVariant, labels: readonly string[]): ClassifierParts {
  const { width } = model.sizes;
  const { length: classes } = labels;
  const { dense, activation, classes: last } = variant.classHead;
  const head = new ParameterList();
  addClassifier(variant, width, classes, head);
  return {
    model: bertModel({
      ...model.toJson(),
      architectures: [`${variant.className}ForSequenceClassification`],
      num_labels: classes,
      ...labelFields(labels),
    }),
    className: variant.className,
    head: head.all,
    logits(source, texts) {
      const first = slice(model.encode(source, texts), 1, 0, 1); // [B,1,width]
      const inner = biasedLinear(source, dense, reshape(first, [first.shape[0], width]), width);
      return biasedLinear(source, last, activations[activation](inner), classes);
    },
  };
}

/**
 * Makes a model from a config.json, with the head that `architectures` names; throws a LinnetError `CONFIG` like
 * `parseBertConfig`.
 */
export function bertModel(json: JsonObject): EncoderModel {
  const config = parseBertConfig(json);
  const { variant } = config;
  const model: EncoderModel = {
    family: variant.family,
    kind: 'encoder',
    sizes: sizesOf(config),
    mixers: config.mixers,
    parameters: bertParameters(config),
    optionalParameters: poolerParameters(config),
    separators: variant.separators,
    eosIds: [],
    unknownFields: config.unknownFields,
    toJson: () => withSection(savedJson(config), config.mixers),
    withMixers: (mixers) => bertModel({ ...config.raw, linnet: { version: 1, mixers } }),
    encode: (source, input) => encode(model, config, source, input),
    head: (source, hidden) => predictions(config, source, hidden),
    attentionPrefix: (layer) => bertAttentionPrefix(variant, layer),
    asClassifier: (labels) => classifierOf(model, variant, labels),
    parameterName: (stored) => bertParameterName(config, stored),
  };
  return model;
}

/** config.json without pre-training's next-sentence head. */
function savedJson({ raw, head, variant }: BertConfig): JsonObject {
  return head === 'masked-lm' && Array.isArray(raw.architectures)
    ? { ...raw, architectures: [`${variant.className}ForMaskedLM`] }
    : raw;
}

function encode(model: EncoderModel, config: BertConfig, source: ParameterSource, input: EncoderInput): Value {
  const { width, heads, variant } = config;
  const { names } = variant;
  let x = embed(config, source, input); // [B,n,width]
  for (let layer = 0; layer < config.layers; layer++) {
    source.graph.cutAt(x);
    const block = scoped(source, bertBlockPrefix(variant, layer));
    const parameters = mixerParameterValues(model, source, layer);
    const own = scoped(block, names.attention);
    const [q, k, v] = [names.query, names.key, names.value].map(
      (name) => inHeads(biasedLinear(own, name, x, width), heads), // [B,n,H,D]
    );
    const mixed = mixBidirectional(config.mixers[layer], { q, k, v }, input.mask, parameters);
    const attended = biasedLinear(block, names.attentionOutput, reshape(mixed, x.shape), width);
    x = namedLayerNorm(block, names.attentionNorm, add(x, attended), config.normEpsilon);
    const inner = activations[config.activation](biasedLinear(block, names.inner, x, config.feedForwardWidth));
    const fed = biasedLinear(block, names.output, inner, width);
    x = namedLayerNorm(block, names.outputNorm, add(x, fed), config.normEpsilon);
  }
  source.graph.cutAt(x);
  return x;
}

/** The normalized sum of the tables. Padding has embeddings like any token: nothing reads them. [B,n,width] */
function embed(config: BertConfig, source: ParameterSource, { tokens, segments }: EncoderInput): Value {
  const { width, vocabulary, trainedLength, firstPosition, variant } = config;
  const { graph } = source;
  const length = Number(tokens.shape[1]);
  const { positions: counted } = learnedPositions(trainedLength).at([...Array.from({ length }).keys()], 1, length);
  const row = int32(
    [1, length],
    dataOf(counted, 'int32').map((position) => firstPosition + position),
  );
  const tables = scoped(source, `${variant.root}.embeddings`);
  const isTold = segments !== undefined && config.segments > 1;
  const told = isTold ? segments : graph.constant(int32([1, 1], [0]));
  const words = embedding(tables, 'word_embeddings', tokens, vocabulary, width);
  const rows = firstPosition + trainedLength;
  const places = embedding(tables, 'position_embeddings', graph.constant(row), rows, width); // [1,n,width]
  const texts =
    config.segments === 0
      ? words
      : add(words, embedding(tables, 'token_type_embeddings', told, config.segments, width));
  return namedLayerNorm(tables, 'LayerNorm', add(texts, places), config.normEpsilon);
}

/** Token logits at every position. @throws LinnetError `CONFIG` for a folder without that head */
function predictions(config: BertConfig, source: ParameterSource, hidden: Value): Value {
  const { head, width, vocabulary, tiedHead, variant } = config;
  const { tokenHead, title, className } = variant;
  if (head !== 'masked-lm') {
    const what = { classifier: 'a text classifier', answers: 'a finder of answers', none: 'a bare encoder' }[head];
    throw new LinnetError(
      'CONFIG',
      `this ${title} is ${what} and does not predict tokens; that needs a folder whose architectures name ${className}ForMaskedLM`,
    );
  }
  const activate = activations[tokenHead.activation ?? config.activation];
  const dense = activate(biasedLinear(source, tokenHead.dense, hidden, width));
  const inner = namedLayerNorm(source, tokenHead.norm, dense, config.normEpsilon);
  const table = tiedHead ? `${variant.root}.embeddings.word_embeddings` : tokenHead.decoder;
  return add(linear(source, table, inner, vocabulary), source.parameter(tokenHead.bias, [vocabulary]));
}
