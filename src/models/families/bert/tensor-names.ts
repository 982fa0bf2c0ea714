/**
 * Names of BERT's tensors. Parameters are named as in checkpoints of the models with a head ("bert.encoder.layer.0.…");
 * the mixers' own are in `attention.self`, under the names they have in every family.
 */
import type { BertHead } from './config.ts';

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
