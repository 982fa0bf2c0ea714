/**
 * Masked language modelling (BERT, arXiv 1810.04805, section 3.1): of 15 % of the tokens, drawn anew in every pass, the
 * model must predict the original ones; 80 % of them are replaced by the mask token, 10 % by a random one, 10 % are left.
 */
import { LinnetError } from '../../errors.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { fingerprint } from '../rows/fingerprint.ts';
import { Int32Buffer } from '../rows/int32-buffer.ts';
import {
  type BatchOf,
  emptyBatch,
  float32Input,
  int32Input,
  type RowDataset,
  type RowInputs,
  type RowVisit,
} from '../rows/row-dataset.ts';
import { visitRandom } from '../rows/visit-random.ts';

const chosenShare = 0.15;
const maskedShare = 0.8;
const randomShare = 0.1;

/** Names, types and shapes of a row of masked text. */
export function maskedInputs(length: number) {
  return {
    /** Some are replaced. */
    tokens: int32Input(length),
    /** 0 on padding. */
    mask: float32Input(length),
    /** The tokens as they were. */
    labels: int32Input(length),
    /** 1 where a token was chosen. */
    weights: float32Input(length),
  } satisfies RowInputs;
}

type MaskedBatch = BatchOf<ReturnType<typeof maskedInputs>>;

/** The tokens that masked text has besides its own. */
export interface MaskingIds {
  readonly cls: number;
  readonly sep: number;
  readonly mask: number;
}

export interface MaskedOptions {
  /** Tokens of a row, CLS and SEP included. */
  readonly length: number;
  /** Draws the chosen tokens and their replacements. */
  readonly seed: number;
  /** Default: the tokenizer's. */
  readonly ids?: MaskingIds;
}

/**
 * CLS, SEP and the mask token of a tokenizer; where it has none, the last three ids of the model's vocabulary, if no token of
 * the text can be one of them. Undefined where there is no room.
 */
export function maskingIds(
  { clsId: cls, sepId: sep, maskId: mask, vocabularySize }: Tokenizer,
  vocabulary: number,
): MaskingIds | undefined {
  if (cls !== undefined && sep !== undefined && mask !== undefined) return { cls, sep, mask };
  if (vocabulary < vocabularySize + 3) return undefined;
  return { cls: vocabulary - 3, sep: vocabulary - 2, mask: vocabulary - 1 };
}

/**
 * Documents cut into rows of CLS, tokens, SEP; the last row of a document is padded.
 * @throws LinnetError `INPUT` for a tokenizer without CLS, SEP or mask token, rows too short, or no text
 */
export function maskedDocuments(
  documents: readonly { readonly text: string }[],
  tokenizer: Tokenizer,
  { length, seed, ids: own = maskingIds(tokenizer, 0) }: MaskedOptions,
): RowDataset<MaskedBatch> {
  const { padId: pad = 0, specialIds, vocabularySize } = tokenizer;
  if (own === undefined) {
    throw new LinnetError('INPUT', 'masked language modelling needs a tokenizer with CLS, SEP and mask tokens');
  }
  if (!Number.isInteger(length) || length < 3) {
    throw new LinnetError('INPUT', `rows of ${length} tokens have no room for CLS, a token and SEP`);
  }
  const ids = { ...own, pad };
  // Tokens of all rows, without the control tokens around them.
  const [tokens, starts, counts] = cutDocuments(documents, tokenizer, length - 2);
  if (starts.length === 0) throw new LinnetError('INPUT', 'there is no token to train on');
  // Tokens that may stand in for another.
  const ordinary = Int32Array.from({ length: vocabularySize }, (_, id) => id).filter((id) => !specialIds.has(id));
  const inputs = maskedInputs(length);
  /** Chooses tokens and replaces them; at least one, so that every row has something to predict. */
  const hide = (visit: RowVisit, words: Int32Array, hidden: Int32Array, weights: Float32Array): void => {
    const random = visitRandom(seed, visit);
    const certain = random.integer(words.length);
    const chosen = [...words.keys()].filter(() => random.uniform() < chosenShare);
    for (const at of chosen.length > 0 ? chosen : [certain]) {
      weights[at] = 1;
      const fate = random.uniform();
      if (fate < maskedShare) hidden[at] = ids.mask;
      else if (fate < maskedShare + randomShare) hidden[at] = ordinary[random.integer(ordinary.length)];
    }
  };
  return {
    rows: starts.length,
    length,
    inputs,
    batch(visits) {
      const batch = emptyBatch(inputs, visits.length);
      for (const { data } of [batch.tokens, batch.labels]) data.fill(ids.pad);
      visits.forEach((visit, place) => {
        const start = starts[visit.row];
        const words = tokens.subarray(start, start + counts[visit.row]);
        const row = [ids.cls, ...words, ids.sep];
        const from = place * length;
        batch.labels.data.set(row, from);
        batch.tokens.data.set(row, from);
        batch.mask.data.fill(1, from, from + row.length);
        hide(visit, words, batch.tokens.data.subarray(from + 1), batch.weights.data.subarray(from + 1));
      });
      return batch;
    },
    fingerprint: () => fingerprint({ kind: 'masked', version: 1, length, seed, ids }, [tokens, starts, counts]),
  };
}

/** Documents in pieces of at most `most` tokens: all their tokens, where the pieces start, and how long they are. */
function cutDocuments(
  documents: readonly { readonly text: string }[],
  tokenizer: Tokenizer,
  most: number,
): Int32Array[] {
  const [tokens, starts, counts] = [new Int32Buffer(), new Int32Buffer(), new Int32Buffer()];
  for (const { text } of documents) {
    const ids = tokenizer.encode(text);
    for (let start = 0; start < ids.length; start += most) {
      const part = ids.subarray(start, start + most);
      starts.append([tokens.length]);
      counts.append([part.length]);
      tokens.append(part);
    }
  }
  return [tokens, starts, counts].map((buffer) => buffer.toArray());
}
