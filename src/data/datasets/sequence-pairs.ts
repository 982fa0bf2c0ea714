/** Rows for models that read one text and write another: the pairs of a file, or plain text with spans cut out. */
import { LinnetError } from '../../errors.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { fingerprint } from '../rows/fingerprint.ts';
import { Int32Buffer } from '../rows/int32-buffer.ts';
import { longestLength } from '../rows/longest.ts';
import { type BatchOf, emptyBatch, type RowDataset, type RowInputs, type RowVisit } from '../rows/row-dataset.ts';
import { corruptedLength, corruptSpans } from './span-corruption.ts';
import { visitRandom } from '../rows/visit-random.ts';

/** Tokens per row of sources and targets. */
export interface PairLengths {
  readonly source: number;
  readonly target: number;
}

/** Names, types and shapes of a row of a pair. */
export function pairInputs({ source, target }: PairLengths) {
  return {
    source: { dtype: 'int32', shape: [source] },
    /** 0 on padding. */
    sourceMask: { dtype: 'float32', shape: [source] },
    /** The start token, then the target without its last token. */
    inputs: { dtype: 'int32', shape: [target] },
    /** The target. */
    labels: { dtype: 'int32', shape: [target] },
    /** 0 on padding. */
    weights: { dtype: 'float32', shape: [target] },
  } as const satisfies RowInputs;
}

type PairBatch = BatchOf<ReturnType<typeof pairInputs>>;

interface TokenPair {
  readonly source: Int32Array;
  readonly target: Int32Array;
}

/** Pairs whose tokens may depend on the pass over the data. */
export abstract class PairDataset implements RowDataset<PairBatch> {
  readonly lengths: PairLengths;
  readonly #startId: number;
  readonly #padId: number;

  constructor(lengths: PairLengths, { startId, padId }: { readonly startId: number; readonly padId: number }) {
    this.lengths = lengths;
    this.#startId = startId;
    this.#padId = padId;
  }

  abstract readonly rows: number;
  abstract fingerprint(): string;
  /** Source and target of a row, EOS included. */
  abstract pair(visit: RowVisit): TokenPair;

  get length(): number {
    return this.lengths.source + this.lengths.target;
  }

  /** Names, types and shapes of a row's arrays, the inputs of the objective. */
  get inputs() {
    return pairInputs(this.lengths);
  }

  /** The texts of a row: the source, and the start token followed by the target. */
  texts(visit: RowVisit): { source: Int32Array; tokens: Int32Array } {
    const { source, target } = this.pair(visit);
    return { source, tokens: Int32Array.from([this.#startId, ...target]) };
  }

  /** The same data without the rows from `rows` on. */
  first(rows: number): PairDataset {
    return new FirstPairs(this, rows, { startId: this.#startId, padId: this.#padId });
  }

  batch(visits: readonly RowVisit[]): PairBatch {
    const { source: n, target: m } = this.lengths;
    const batch = emptyBatch(this.inputs, visits.length);
    for (const { data } of [batch.source, batch.inputs, batch.labels]) data.fill(this.#padId);
    visits.forEach((visit, place) => {
      const { source, target } = this.pair(visit);
      batch.source.data.set(source, place * n);
      batch.sourceMask.data.fill(1, place * n, place * n + source.length);
      batch.labels.data.set(target, place * m);
      batch.weights.data.fill(1, place * m, place * m + target.length);
      batch.inputs.data[place * m] = this.#startId;
      batch.inputs.data.set(target.subarray(0, -1), place * m + 1);
    });
    return batch;
  }
}

/** The first rows of other pairs. */
class FirstPairs extends PairDataset {
  readonly rows: number;
  readonly #whole: PairDataset;

  constructor(whole: PairDataset, rows: number, ids: { readonly startId: number; readonly padId: number }) {
    super(whole.lengths, ids);
    this.rows = rows;
    this.#whole = whole;
  }

  pair(visit: RowVisit): TokenPair {
    return this.#whole.pair(visit);
  }

  /** SHA-256 of the pairs and of how they become rows. */
  fingerprint(): string {
    return fingerprint({ kind: 'first pairs', version: 1, rows: this.rows, whole: this.#whole.fingerprint() }, []);
  }
}

/** How pairs of texts become rows. */
export interface PairOptions {
  /** Most tokens of a source and of a target, EOS included; longer ones are cut. */
  readonly length: number;
  /** First token of the decoder's input. */
  readonly startId: number;
}

/** Sources and targets, as they are in a file. */
export class TextPairDataset extends PairDataset {
  readonly #pairs: readonly TokenPair[];

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
    const longest = (side: keyof TokenPair): number =>
      longestLength(
        encoded.map((pair) => pair[side]),
        1,
      );
    const padId = tokenizer.padId ?? 0;
    super({ source: longest('source'), target: longest('target') }, { startId, padId });
    this.#pairs = encoded;
  }

  /** Number of pairs. */
  get rows(): number {
    return this.#pairs.length;
  }

  pair({ row }: RowVisit): TokenPair {
    return this.#pairs[row];
  }

  /** SHA-256 of the pairs and of how they become rows. */
  fingerprint(): string {
    const counts = this.#pairs.flatMap(({ source, target }) => [source.length, target.length]);
    const described = { kind: 'pairs', version: 1, ...this.lengths, counts };
    return fingerprint(
      described,
      this.#pairs.flatMap(({ source, target }) => [source, target]),
    );
  }
}

/** Tokens with EOS, if there is one, cut so that it stays. */
function endedTokens(tokenizer: Tokenizer, text: string, length: number): Int32Array {
  const end = tokenizer.eosId === undefined ? [] : [tokenizer.eosId];
  return Int32Array.from([...tokenizer.encode(text).subarray(0, length - end.length), ...end]);
}

export interface SpanOptions extends PairOptions {
  /** Draws the spans. */
  readonly seed: number;
  /** Token ids of the first span's sentinel, the second's, …; see `sentinelIds`. */
  readonly sentinels: readonly number[];
}

/** Plain text, all documents one after the other, of which every pass cuts out other spans. */
export class SpanCorruptionDataset extends PairDataset {
  readonly rows: number;
  readonly #tokens: Int32Array;
  readonly #rowTokens: number;
  readonly #options: SpanOptions;
  readonly #eosId: number | undefined;

  /** @throws LinnetError `INPUT` for text shorter than a row, or fewer sentinels than spans */
  constructor(documents: readonly { readonly text: string }[], tokenizer: Tokenizer, options: SpanOptions) {
    const { rowTokens, source, target, spans } = corruptedLength(options.length, tokenizer.eosId !== undefined);
    if (spans > options.sentinels.length) {
      throw new LinnetError(
        'INPUT',
        `a row of ${options.length} tokens has ${spans} spans, the tokenizer ${options.sentinels.length} sentinels; use a smaller length`,
      );
    }
    super({ source, target }, { startId: options.startId, padId: tokenizer.padId ?? 0 });
    const tokens = new Int32Buffer();
    for (const { text } of documents) {
      tokens.append(tokenizer.encode(text));
      if (tokenizer.eosId !== undefined) tokens.append([tokenizer.eosId]);
    }
    this.rows = Math.floor(tokens.length / rowTokens);
    if (this.rows === 0) {
      throw new LinnetError('INPUT', `${tokens.length} tokens are too few for a row of ${rowTokens}`);
    }
    this.#tokens = tokens.toArray();
    this.#rowTokens = rowTokens;
    this.#options = options;
    this.#eosId = tokenizer.eosId;
  }

  pair(visit: RowVisit): TokenPair {
    const start = visit.row * this.#rowTokens;
    const { source, target } = corruptSpans(
      this.#tokens.subarray(start, start + this.#rowTokens),
      this.#options.sentinels,
      visitRandom(this.#options.seed, visit),
    );
    const end = this.#eosId === undefined ? [] : [this.#eosId];
    return { source: Int32Array.from([...source, ...end]), target: Int32Array.from([...target, ...end]) };
  }

  /** SHA-256 of the pairs and of how they become rows. */
  fingerprint(): string {
    const { seed, sentinels } = this.#options;
    return fingerprint({ kind: 'spans', version: 1, ...this.lengths, seed, sentinels }, [this.#tokens]);
  }
}
