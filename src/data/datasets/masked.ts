/**
 * Masked language modeling (BERT, arXiv 1810.04805, section 3.1): each pass draws 15 % of the tokens anew, and the model must
 * predict their originals; 80 % of them become the mask token, 10 % a random one, 10 % stay.
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

/** Names, types and shapes of a masked row. */
export function maskedInputs(length: number) {
  return {
    /** Input tokens, some replaced. */
    tokens: int32Input(length),
    /** 0 on padding. */
    mask: float32Input(length),
    /** The original tokens. */
    labels: int32Input(length),
    /** 1 at drawn tokens. */
    weights: float32Input(length),
  } satisfies RowInputs;
}

type MaskedBatch = BatchOf<ReturnType<typeof maskedInputs>>;

/** The extra tokens that masked text needs. */
export interface MaskingIds {
  readonly cls: number;
  readonly sep: number;
  readonly mask: number;
}

export interface MaskedOptions {
  /** Tokens per row, CLS and SEP included. */
  readonly length: number;
  /** Seeds the draw of tokens and their replacements. */
  readonly seed: number;
  /** Default: the tokenizer's. */
  readonly ids?: MaskingIds;
}

/**
 * A tokenizer's CLS, SEP and mask token; if it has none, the last three ids of the model's vocabulary, provided that no text
 * token can be one of them. Undefined if there is no room.
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
 * Documents cut into rows of CLS, tokens, SEP; pads each document's last row.
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
  // The tokens of all rows, without the control tokens around them.
  const [tokens, starts, counts] = cutDocuments(documents, tokenizer, length - 2);
  if (starts.length === 0) throw new LinnetError('INPUT', 'there is no token to train on');
  // Tokens that may replace another.
  const ordinary = Int32Array.from({ length: vocabularySize }, (_, id) => id).filter((id) => !specialIds.has(id));
  const inputs = maskedInputs(length);
  /** Draws and replaces tokens; at least one, so that every row has something to predict. */
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

/** Cuts documents into pieces of at most `most` tokens: all tokens, where the pieces start, and their lengths. */
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
