/** The order in which training sees its rows: shuffled anew every epoch, in batches, resumable at any batch. */
import { LinnetError } from '../../errors.ts';
import { Random } from '../../random.ts';
import type { BatchTensors, RowSource, RowVisit } from './row-dataset.ts';

/** Rows of a data set. */
export interface Batch<B extends BatchTensors = BatchTensors> {
  /** The arrays of the rows, by input name. */
  readonly values: B;
  /** Which rows these are. */
  readonly visits: readonly RowVisit[];
}

/** Options of `BatchStream`. */
export interface BatchOptions {
  /** Rows in a batch, B. Every batch has as many. */
  readonly batchSize: number;
  /** Which shuffle. Any integer; equal seeds give equal streams. */
  readonly seed: number;
  /** Whether to shuffle. Default true. */
  readonly shuffle?: boolean;
}

/** Where a stream is. Plain JSON. */
export interface BatchCursor {
  /** Counted from 0. */
  readonly epoch: number;
  /** Rows of that epoch already given. */
  readonly index: number;
  readonly seed: number;
}

/** Batches without end. Rows left over at the end of an epoch are followed by the first rows of the next. */
export class BatchStream<B extends BatchTensors = BatchTensors> {
  readonly #dataset: RowSource<B>;
  readonly #options: Required<BatchOptions>;
  #epoch: number;
  #index: number;
  #order: Int32Array;

  /**
   * @param start where the `state` of another stream was taken: the batches that follow are those it would have given. Default:
   *   the first batch
   * @throws LinnetError `INPUT` if an option is out of range, or there are too few rows for a batch; `MISMATCH` if `start` is of
   *   another seed or does not fit the data set
   */
  constructor(dataset: RowSource<B>, options: BatchOptions, start?: BatchCursor) {
    const { batchSize, seed, shuffle = true } = options;
    this.#dataset = dataset;
    this.#options = { batchSize, seed, shuffle };
    if (!Number.isInteger(batchSize) || batchSize < 1) throw outOfRange('batchSize', batchSize, 'a positive integer');
    if (!Number.isInteger(seed)) throw outOfRange('seed', seed, 'an integer');
    if (dataset.rows === 0) {
      throw new LinnetError('INPUT', 'there are no rows for a batch; give more text, or a smaller row length');
    }
    const { epoch, index } = start ?? { epoch: 0, index: 0 };
    if (!([epoch, index].every((count) => Number.isInteger(count) && count >= 0) && index <= dataset.rows)) {
      throw new LinnetError(
        'MISMATCH',
        `the cursor (epoch ${epoch}, row ${index}) lies outside the data of ${dataset.rows} rows; it is of other data`,
      );
    }
    if (start !== undefined && start.seed !== seed) {
      throw new LinnetError('MISMATCH', `the cursor is of seed ${start.seed}, the run of seed ${seed}`);
    }
    this.#epoch = epoch;
    this.#index = index;
    this.#order = this.#orderOf(epoch);
  }

  /** Where the stream is, after the batches given so far. */
  get state(): BatchCursor {
    return { epoch: this.#epoch, index: this.#index, seed: this.#options.seed };
  }

  /** The next batch. */
  next(): Batch<B> {
    const visits: RowVisit[] = [];
    while (visits.length < this.#options.batchSize) {
      if (this.#index === this.#dataset.rows) {
        this.#epoch++;
        this.#index = 0;
        this.#order = this.#orderOf(this.#epoch);
      }
      visits.push({ row: this.#order[this.#index++], epoch: this.#epoch });
    }
    return { values: this.#dataset.batch(visits), visits };
  }

  /** The rows in the order of an epoch: a function of seed and epoch, so that a cursor need not hold it. */
  #orderOf(epoch: number): Int32Array {
    const order = Array.from({ length: this.#dataset.rows }, (_, row) => row);
    if (!this.#options.shuffle) return Int32Array.from(order);
    // The seed is drawn into a word of its own first, or seeds that differ by one would share shuffles.
    const word = new Random(this.#options.seed).nextUint32();
    return Int32Array.from(new Random(word + epoch).shuffle(order));
  }
}

function outOfRange(name: string, value: number, expected: string): LinnetError {
  return new LinnetError('INPUT', `${name} is ${value}; expected ${expected}`);
}
