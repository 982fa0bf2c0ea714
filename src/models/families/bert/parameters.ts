/** BERT's parameters. Linear weights are [outputs, inputs]. */
import { type DeclaredParameters, ParameterList, type ParameterRole } from '../../../nn/parameter-roles.ts';
import { declareMixer } from '../../mixer-parameters.ts';
import type { BertConfig, BertHead } from './config.ts';

/** The prefix of an encoder block. */
export function bertBlockPrefix(layer: number): string {
  return `bert.encoder.layer.${layer}`;
}

/** The prefix of the query, key and value projections and of the mixer's parameters. */
export function bertAttentionPrefix(layer: number): string {
  return `${bertBlockPrefix(layer)}.attention.self`;
}

/** Prefixes of the heads. */
export const predictionName = 'cls.predictions';
export const poolerName = 'bert.pooler.dense';
export const classifierName = 'classifier';

/**
 * Roles of a layer's weight and bias. Every addition to the residual stream is normalized at once, so that its layers need
 * no smaller initialization in deep models.
 */
const plain = ['matrix', 'bias'] as const;
const queryKey = ['query-key matrix', 'query-key bias'] as const;

function addLinear(
  list: ParameterList,
  name: string,
  inputs: number,
  outputs: number,
  [weight, bias]: readonly [ParameterRole, ParameterRole] = plain,
): void {
  list.add(weight, `${name}.weight`, [outputs, inputs]);
  list.add(bias, `${name}.bias`, [outputs]);
}

const headParameters: Readonly<Record<Exclude<BertHead, 'none'>, (config: BertConfig, list: ParameterList) => void>> = {
  'masked-lm': ({ width, vocabulary, tiedHead }, list) => {
    addLinear(list, `${predictionName}.transform.dense`, width, width);
    list.layerNorm(`${predictionName}.transform.LayerNorm`, width);
    if (!tiedHead) list.add('head', `${predictionName}.decoder.weight`, [vocabulary, width]);
    list.add('head bias', `${predictionName}.bias`, [vocabulary]);
  },
  classifier: ({ width, classes }, list) => addClassifier(width, classes, list),
};

/** All parameters of a model, its head included. */
export function bertParameters(config: BertConfig): DeclaredParameters {
  const { width, feedForwardWidth, vocabulary, trainedLength, segments } = config;
  const list = new ParameterList();
  list.add('embedding', 'bert.embeddings.word_embeddings.weight', [vocabulary, width]);
  list.add('embedding', 'bert.embeddings.position_embeddings.weight', [trainedLength, width]);
  list.add('embedding', 'bert.embeddings.token_type_embeddings.weight', [segments, width]);
  list.layerNorm('bert.embeddings.LayerNorm', width);
  config.mixers.forEach((mixer, layer) => {
    const block = bertBlockPrefix(layer);
    const attention = bertAttentionPrefix(layer);
    for (const name of ['query', 'key']) addLinear(list, `${attention}.${name}`, width, width, queryKey);
    addLinear(list, `${attention}.value`, width, width);
    list.addAll(attention, declareMixer(mixer, config));
    addLinear(list, `${block}.attention.output.dense`, width, width);
    list.layerNorm(`${block}.attention.output.LayerNorm`, width);
    addLinear(list, `${block}.intermediate.dense`, width, feedForwardWidth);
    addLinear(list, `${block}.output.dense`, feedForwardWidth, width);
    list.layerNorm(`${block}.output.LayerNorm`, width);
  });
  if (config.head !== 'none') headParameters[config.head](config, list);
  return list.all;
}

/** The parameters of pooler and classifier for an encoder of some width. */
export function classifierParameters(width: number, classes: number): DeclaredParameters {
  const list = new ParameterList();
  addClassifier(width, classes, list);
  return list.all;
}

/** The parameters of the pooler. */
export function poolerParameters(width: number): DeclaredParameters {
  const list = new ParameterList();
  addLinear(list, poolerName, width, width);
  return list.all;
}

function addClassifier(width: number, classes: number, list: ParameterList): void {
  addLinear(list, poolerName, width, width);
  addLinear(list, classifierName, width, classes);
}

/** The prefix that checkpoints of the bare encoder leave out. */
const prefix = 'bert.';
const withoutPrefix = /^(embeddings|encoder|pooler)\./;

/** How checkpoints converted from the first implementation call gain and bias of a norm. */
const oldNormNames: Readonly<Record<string, string>> = { gamma: 'weight', beta: 'bias' };
const oldNorm = /^(.*\.LayerNorm)\.(gamma|beta)$/;

/** Counted positions and zero segments that were stored as buffers. */
const buffers: ReadonlySet<string> = new Set(['bert.embeddings.position_ids', 'bert.embeddings.token_type_ids']);

/** The head that tells whether one sentence follows another, stored next to the masked-LM head and used by nobody. */
const nextSentence = 'cls.seq_relationship.';

/** The bias of the head by its second name. */
const biasCopy = 'cls.predictions.decoder.bias';
const decoder = 'cls.predictions.decoder.weight';

/**
 * The parameter that a stored tensor is; undefined for stored positions, copies of a tied head and the next-sentence
 * head. Names that are not BERT's are given back as they are.
 */
export function bertParameterName(stored: string, head: BertHead, tiedHead: boolean): string | undefined {
  if (head === 'masked-lm' && (stored === biasCopy || stored.startsWith(nextSentence))) return undefined;
  if (tiedHead && stored === decoder) return undefined;
  const name = withoutPrefix.test(stored) ? prefix + stored : stored;
  if (buffers.has(name)) return undefined;
  const [, norm, old = ''] = oldNorm.exec(name) ?? [];
  return norm === undefined ? name : `${norm}.${oldNormNames[old]}`;
}
