/** Parameters of encoders. Linear weights are [outputs, inputs]. */
import { type DeclaredParameters, ParameterList } from '../../../nn/parameters.ts';
import { declareMixer } from '../../mixer-parameters.ts';
import type { BertConfig, BertHead } from './config.ts';
import type { EncoderVariant } from './variants.ts';

/** The prefix of an encoder block. */
export function bertBlockPrefix({ root, layers }: EncoderVariant, layer: number): string {
  return `${root}.${layers}.${layer}`;
}

/** The prefix of the query, key and value projections and the mixer's parameters. */
export function bertAttentionPrefix(variant: EncoderVariant, layer: number): string {
  return `${bertBlockPrefix(variant, layer)}.${variant.names.attention}`;
}

/** The ends of an answer. */
const answerName = 'qa_outputs';

const headParameters: Readonly<Record<Exclude<BertHead, 'none'>, (config: BertConfig, list: ParameterList) => void>> = {
  'masked-lm': ({ width, vocabulary, tiedHead, variant: { tokenHead } }, list) => {
    list.linear('matrix', tokenHead.dense, width, width);
    list.layerNorm(tokenHead.norm, width);
    if (!tiedHead) list.add('head', `${tokenHead.decoder}.weight`, [vocabulary, width]);
    list.add('head bias', tokenHead.bias, [vocabulary]);
  },
  classifier: ({ width, classes, variant }, list) => addClassifier(variant, width, classes, list),
  answers: ({ width }, list) => list.linear('head', answerName, width, 2),
};

/**
 * All parameters of a model, including its head's. Every addition to the residual stream is normalized immediately, so deep
 * models need no smaller initialization.
 */
export function bertParameters(config: BertConfig): DeclaredParameters {
  const { width, feedForwardWidth, vocabulary, trainedLength, firstPosition, segments, variant } = config;
  const { root, names } = variant;
  const list = new ParameterList();
  list.add('embedding', `${root}.embeddings.word_embeddings.weight`, [vocabulary, width]);
  list.add('embedding', `${root}.embeddings.position_embeddings.weight`, [firstPosition + trainedLength, width]);
  if (segments > 0) list.add('embedding', `${root}.embeddings.token_type_embeddings.weight`, [segments, width]);
  list.layerNorm(`${root}.embeddings.LayerNorm`, width);
  config.mixers.forEach((mixer, layer) => {
    const block = bertBlockPrefix(variant, layer);
    const attention = bertAttentionPrefix(variant, layer);
    for (const name of [names.query, names.key]) list.linear('query-key matrix', `${attention}.${name}`, width, width);
    list.linear('matrix', `${attention}.${names.value}`, width, width);
    list.addAll(attention, declareMixer(mixer, config));
    list.linear('matrix', `${block}.${names.attentionOutput}`, width, width);
    list.layerNorm(`${block}.${names.attentionNorm}`, width);
    list.linear('matrix', `${block}.${names.inner}`, width, feedForwardWidth);
    list.linear('matrix', `${block}.${names.output}`, feedForwardWidth, width);
    list.layerNorm(`${block}.${names.outputNorm}`, width);
  });
  if (config.head !== 'none') headParameters[config.head](config, list);
  return list.all;
}

/** The pooler's parameters, if the head does not read them; undefined for a model without a pooler. */
export function poolerParameters({ head, width, variant }: BertConfig): DeclaredParameters | undefined {
  const { pooler, classHead } = variant;
  if (pooler === undefined || (head === 'classifier' && classHead.dense === pooler)) return undefined;
  const list = new ParameterList();
  list.linear('matrix', pooler, width, width);
  return list.all;
}

/** Declares a classifier's parameters. */
export function addClassifier(
  { classHead }: EncoderVariant,
  width: number,
  classes: number,
  list: ParameterList,
): void {
  list.linear('matrix', classHead.dense, width, width);
  list.linear('matrix', classHead.classes, width, classes);
}

/** Modules that checkpoints of the bare encoder do not put under the root. */
const withoutPrefix = /^(embeddings|encoder|transformer|pooler)\./;

/** Names of a norm's gain and bias in checkpoints converted from the first implementation. */
const oldNormNames: Readonly<Record<string, string>> = { gamma: 'weight', beta: 'bias' };
const oldNorm = /^(.*\.LayerNorm)\.(gamma|beta)$/;

/** Counted positions and zero segments stored as buffers. */
const buffer = /\.embeddings\.(position_ids|token_type_ids)$/;

/** The next-sentence head, stored next to the masked-LM head and used by nothing. */
const nextSentence = 'cls.seq_relationship.';

/**
 * The parameter in a stored tensor; undefined for stored positions, copies of a tied head and the next-sentence head. Names
 * other than the variant's are returned unchanged.
 */
export function bertParameterName({ variant, head, tiedHead }: BertConfig, stored: string): string | undefined {
  const { root, tokenHead } = variant;
  const biasCopy = `${tokenHead.decoder}.bias`;
  const isCopy = stored === biasCopy && biasCopy !== tokenHead.bias;
  if (head === 'masked-lm' && (isCopy || stored.startsWith(nextSentence))) return undefined;
  if (tiedHead && stored === `${tokenHead.decoder}.weight`) return undefined;
  const name = withoutPrefix.test(stored) ? `${root}.${stored}` : stored;
  if (name.startsWith(`${root}.`) && buffer.test(name)) return undefined;
  const [, norm, old = ''] = oldNorm.exec(name) ?? [];
  return norm === undefined ? name : `${norm}.${oldNormNames[old]}`;
}
