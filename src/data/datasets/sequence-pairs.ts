/** Rows for models that read one text and write another: pairs from a file, or plain text with spans cut out. */
import { LinnetError } from '../../errors.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { fingerprint } from '../rows/fingerprint.ts';
import { Int32Buffer } from '../rows/int32-buffer.ts';
import { longestLength } from '../rows/longest.ts';
import {
  type BatchOf,
  emptyBatch,
  float32Input,
  int32Input,
  type RowDataset,
  type RowInputs,
  type RowVisit,
} from '../rows/row-dataset.ts';
import { corruptedLength, corruptSpans } from './span-corruption.ts';
import { visitRandom } from '../rows/visit-random.ts';

/** Source and target tokens per row. */
export interface PairLengths {
  readonly source: number;
  readonly target: number;
}

/** Names, types and shapes of a pair's row. */
export function pairInputs({ source, target }: PairLengths) {
  return {
    source: int32Input(source),
    /** 0 on padding. */
    sourceMask: float32Input(source),
    /** The start token, then the target without its last token. */
    inputs: int32Input(target),
    /** The target. */
    labels: int32Input(target),
    /** 0 on padding. */
    weights: float32Input(target),
  } satisfies RowInputs;
}

type PairBatch = BatchOf<ReturnType<typeof pairInputs>>;

interface TokenPair {
  readonly source: Int32Array;
  readonly target: Int32Array;
}

/** Pairs, and the ids that rows need. */
interface PairSource {
  readonly rows: number;
  readonly lengths: PairLengths;
  readonly startId: number;
  readonly padId: number;
  /** A row's source and target, EOS included; may depend on the pass over the data. */
  readonly pair: (visit: RowVisit) => TokenPair;
  /** The pairs' description and tokens, for `fingerprint`. */
  readonly identity: readonly [described: object, arrays: readonly Int32Array[]];
}

/** Rows of pairs. */
export class PairDataset implements RowDataset<PairBatch> {
  readonly lengths: PairLengths;
  readonly rows: number;
  readonly #source: PairSource;

  constructor(source: PairSource) {
    this.lengths = source.lengths;
    this.rows = source.rows;
    this.#source = source;
  }

  /** A row's source and target, EOS included. */
  pair(visit: RowVisit): TokenPair {
    return this.#source.pair(visit);
  }

  /** SHA-256 of the pairs and how they become rows. */
  fingerprint(): string {
    return fingerprint(...this.#source.identity);
  }

  get length(): number {
    return this.lengths.source + this.lengths.target;
  }

  /** Names, types and shapes of a row's arrays, the inputs of the objective. */
  get inputs() {
    return pairInputs(this.lengths);
  }

  /** A row's texts: the source, and the start token followed by the target. */
  texts(visit: RowVisit): { source: Int32Array; tokens: Int32Array } {
    const { source, target } = this.pair(visit);
    return { source, tokens: Int32Array.from([this.#source.startId, ...target]) };
  }

  /** The same data, only the first `rows` rows. */
  first(rows: number): PairDataset {
    const described = { kind: 'first pairs', version: 1, rows, whole: this.fingerprint() };
    return new PairDataset({ ...this.#source, rows, identity: [described, []] });
  }

  batch(visits: readonly RowVisit[]): PairBatch {
    const { source: n, target: m } = this.lengths;
    const { startId, padId } = this.#source;
    const batch = emptyBatch(this.inputs, visits.length);
    for (const { data } of [batch.source, batch.inputs, batch.labels]) data.fill(padId);
    visits.forEach((visit, place) => {
      const { source, target } = this.pair(visit);
      batch.source.data.set(source, place * n);
      batch.sourceMask.data.fill(1, place * n, place * n + source.length);
      batch.labels.data.set(target, place * m);
      batch.weights.data.fill(1, place * m, place * m + target.length);
      batch.inputs.data[place * m] = startId;
      batch.inputs.data.set(target.subarray(0, -1), place * m + 1);
    });
    return batch;
  }
}

/** How pairs of texts become rows. */
export interface PairOptions {
  /** Most tokens in a source or target, EOS included; cuts longer ones. */
  readonly length: number;
  /** First token of the decoder's input. */
  readonly startId: number;
}

/** Sources and targets as a file has them. */
export class TextPairDataset extends PairDataset {
  /** @throws LinnetError `INPUT` for no pairs */
  constructor(
    pairs: readonly { readonly source: string; readonly target: string }[],
    tokenizer: Tokenizer,
    { length, startId }: PairOptions,
  ) {
    if (pairs.length === 0) throw new LinnetError('INPUT', 'there are no pairs of texts');
    const encoded = pairs.map(({ source, target }) => ({
      source: endedTokens(tokenizer, source, length),
      target: endedTokens(tokenizer, target, length),
    }));
    const sides = ['source', 'target'] as const;
    const [source, target] = sides.map((side) =>
      longestLength(
        encoded.map((pair) => pair[side]),
        1,
      ),
    );
    const tokens = encoded.flatMap((pair) => [pair.source, pair.target]);
    super({
      rows: pairs.length,
      lengths: { source, target },
      startId,
      padId: tokenizer.padId ?? 0,
      pair: ({ row }) => encoded[row],
      identity: [{ kind: 'pairs', version: 1, source, target, counts: tokens.map(({ length }) => length) }, tokens],
    });
  }
}

/** Tokens ending in EOS, if the tokenizer has one; a cut keeps it. */
function endedTokens(tokenizer: Tokenizer, text: string, length: number): Int32Array {
  const end = tokenizer.eosId === undefined ? [] : [tokenizer.eosId];
  return Int32Array.from([...tokenizer.encode(text).subarray(0, length - end.length), ...end]);
}

export interface SpanOptions extends PairOptions {
  /** Seeds the draw of spans. */
  readonly seed: number;
  /** Sentinel token ids, the first span's first; see `sentinelIds`. */
  readonly sentinels: readonly number[];
}

/**
 * Plain text, all documents in sequence; each pass cuts out different spans.
 * @throws LinnetError `INPUT` for text shorter than a row, or fewer sentinels than spans
 */
export function spanCorruption(
  documents: readonly { readonly text: string }[],
  tokenizer: Tokenizer,
  { length, startId, seed, sentinels }: SpanOptions,
): PairDataset {
  const end = tokenizer.eosId === undefined ? [] : [tokenizer.eosId];
  const { rowTokens, source, target, spans } = corruptedLength(length, end.length > 0);
  if (spans > sentinels.length) {
    throw new LinnetError(
      'INPUT',
      `a row of ${length} tokens has ${spans} spans, the tokenizer ${sentinels.length} sentinels; use a smaller length`,
    );
  }
  const buffer = new Int32Buffer();
  for (const { text } of documents) {
    buffer.append(tokenizer.encode(text));
    buffer.append(end);
  }
  const rows = Math.floor(buffer.length / rowTokens);
  if (rows === 0) throw new LinnetError('INPUT', `${buffer.length} tokens are too few for a row of ${rowTokens}`);
  const tokens = buffer.toArray();
  return new PairDataset({
    rows,
    lengths: { source, target },
    startId,
    padId: tokenizer.padId ?? 0,
    pair(visit) {
      const start = visit.row * rowTokens;
      const cut = corruptSpans(tokens.subarray(start, start + rowTokens), sentinels, visitRandom(seed, visit));
      return { source: Int32Array.from([...cut.source, ...end]), target: Int32Array.from([...cut.target, ...end]) };
    },
    identity: [{ kind: 'spans', version: 1, source, target, seed, sentinels }, [tokens]],
  });
}
