/**
 * Cuts tokenized documents into training rows. Also runs in browsers.
 *
 * A row of `length` predictions needs length + 1 tokens: the inputs are all but the last, the labels all but the first. One
 * array holds a data set's tokens, in document order; a row is an offset and a count.
 */
import { LinnetError } from '../../errors.ts';
import { documentTokens } from '../documents/document-tokens.ts';
import { tokensBefore } from '../../tokenizer/encode-text.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { Int32Buffer } from '../rows/int32-buffer.ts';
import {
  type BatchOf,
  emptyBatch,
  float32Input,
  int32Input,
  type RowInputs,
  type RowSource,
  type RowVisit,
} from '../rows/row-dataset.ts';

/**
 * How documents become rows.
 * - `stream`: all documents in sequence, cut every `length` tokens, so a row may hold several documents and no token is
 *   wasted. Neighboring rows share a token (one's last label is the next one's first input): every token but the very first
 *   is predicted exactly once.
 * - `document`: one row per document, cut after length + 1 tokens. A short one is padded with weight 0.
 */
export type PackingMode = 'stream' | 'document';

/** Documents to tokenize. */
export type PackedTexts = Iterable<{ readonly text: string }> | AsyncIterable<{ readonly text: string }>;

/** Options of `packDocuments`. */
export interface PackingOptions {
  /** Predictions per row, T. */
  readonly length: number;
  /** Default `stream`. */
  readonly mode?: PackingMode;
  /** What to do with an incomplete last row in mode `stream`. Default `drop`. */
  readonly remainder?: 'drop' | 'pad';
  /** Called after every document. */
  readonly onProgress?: (progress: PackingProgress) => void;
}

/** Tokens and documents so far. */
export interface PackingProgress {
  readonly documents: number;
  readonly tokens: number;
}

/** A row ready for a batch; all three arrays have the data set's row length. */
export interface TrainingRow {
  readonly inputs: Int32Array;
  /** The token after each input. */
  readonly labels: Int32Array;
  /** 1 where the label counts, 0 on padding. */
  readonly weights: Float32Array;
}

/** Parts of packed rows. */
export interface PackedParts {
  readonly length: number;
  readonly documents: number;
  /** Fills inputs and labels where the weight is 0. */
  readonly padId: number;
  /** Tokens of all documents. */
  readonly tokens: Int32Array;
  /** Where each row starts in `tokens`. */
  readonly starts: Int32Array;
  /** Tokens per row, from 2 to length + 1. */
  readonly counts: Int32Array;
}

/** Names, types and shapes of a row of `length` predictions. */
export function packedInputs(length: number) {
  return {
    inputs: int32Input(length),
    /** The token after each input. */
    labels: int32Input(length),
    /** 1 where the label counts, else 0. */
    weights: float32Input(length),
  } satisfies RowInputs;
}

/** A batch of next-token training. */
export type PackedBatch = BatchOf<ReturnType<typeof packedInputs>>;

/** Training rows over one array of tokens. */
export class PackedRows implements PackedParts, RowSource<PackedBatch> {
  readonly length: number;
  readonly documents: number;
  readonly padId: number;
  readonly tokens: Int32Array;
  readonly starts: Int32Array;
  readonly counts: Int32Array;

  constructor(parts: PackedParts) {
    this.length = parts.length;
    this.documents = parts.documents;
    this.padId = parts.padId;
    this.tokens = parts.tokens;
    this.starts = parts.starts;
    this.counts = parts.counts;
  }

  /** Number of rows. */
  get rows(): number {
    return this.starts.length;
  }

  /** Names, types and shapes of a row's arrays, the inputs of the objective. */
  get inputs() {
    return packedInputs(this.length);
  }

  batch(visits: readonly RowVisit[]): PackedBatch {
    const { length, padId, tokens } = this;
    const batch = emptyBatch(this.inputs, visits.length);
    visits.forEach(({ row }, place) => {
      const start = this.starts[row];
      const predicted = this.counts[row] - 1;
      const offset = place * length;
      const end = offset + length;
      batch.inputs.data.set(tokens.subarray(start, start + predicted), offset);
      batch.labels.data.set(tokens.subarray(start + 1, start + 1 + predicted), offset);
      for (const { data } of [batch.inputs, batch.labels]) data.fill(padId, offset + predicted, end);
      batch.weights.data.fill(1, offset, offset + predicted);
    });
    return batch;
  }

  /** Labels that count in all rows: one epoch's predictions. */
  get predictedTokens(): number {
    return this.counts.reduce((sum, count) => sum + count - 1, 0);
  }

  /** Row `index`, as its own arrays. */
  row(index: number): TrainingRow {
    const { inputs, labels, weights } = this.batch([{ row: index, epoch: 0 }]);
    return { inputs: inputs.data, labels: labels.data, weights: weights.data };
  }
}

/**
 * Tokenizes documents and cuts them into rows, like `packDocuments`.
 * @throws LinnetError `INPUT` if `length` is not a positive integer, or the text is too short for a single row
 */
export async function packRows(
  documents: PackedTexts,
  tokenizer: Tokenizer,
  options: PackingOptions,
): Promise<PackedParts> {
  const { length, mode = 'stream', remainder = 'drop', onProgress } = options;
  if (!Number.isInteger(length) || length < 1) {
    throw new LinnetError('INPUT', `rows of ${length} tokens are not possible; expected a positive integer`);
  }
  const [tokens, starts, counts] = [new Int32Buffer(), new Int32Buffer(), new Int32Buffer()];
  /** Cuts the tokens from `first` on. */
  const cut = (first: number, last: typeof remainder): void => {
    for (let start = first; start + 1 < tokens.length; start += length) {
      const count = Math.min(length + 1, tokens.length - start);
      if (count <= length && last === 'drop') break;
      starts.append([start]);
      counts.append([count]);
    }
  };
  let count = 0;
  for await (const { text } of documents) {
    const start = tokens.length;
    const own = separatedTokens(text, tokenizer);
    tokens.append(mode === 'document' ? own.subarray(0, length + 1) : own);
    if (mode === 'document') cut(start, 'pad');
    count++;
    onProgress?.({ documents: count, tokens: tokens.length });
  }
  if (mode === 'stream') cut(0, remainder);
  if (starts.length === 0) {
    throw new LinnetError(
      'INPUT',
      `${count} documents of ${tokens.length} tokens in all are too short for a row of ${length}; ` +
        'give more text or a smaller length',
    );
  }
  return {
    length,
    documents: count,
    padId: tokenizer.padId ?? tokenizer.eosId ?? 0,
    tokens: tokens.toArray(),
    starts: starts.toArray(),
    counts: counts.toArray(),
  };
}

/** A document with the token that separates it from its neighbors. */
function separatedTokens(text: string, tokenizer: Tokenizer): Int32Array {
  const ids = documentTokens(tokenizer, text);
  if (tokensBefore(tokenizer).length > 0) return ids;
  if (tokenizer.eosId === undefined) return ids;
  const ended = new Int32Array(ids.length + 1);
  ended.set(ids);
  ended[ids.length] = tokenizer.eosId;
  return ended;
}
