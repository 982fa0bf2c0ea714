/** The order in which training sees its rows: shuffled anew every epoch, in batches, resumable at any batch. */
import { LinnetError } from '../errors.ts';
import { type Tensor, tensor } from '../graph/tensor.ts';
import { Random } from '../random.ts';
import type { PackedDataset } from './packing.ts';

/** Rows of a batch, B of T tokens each. */
export interface Batch {
  /** [B,T]. */
  readonly inputs: Tensor<'int32'>;
  /** [B,T], the token after each input. */
  readonly labels: Tensor<'int32'>;
  /** [B,T], 1 where the label counts, else 0. */
  readonly weights: Tensor<'float32'>;
  /** Which rows of the data set these are. */
  readonly rows: readonly number[];
}

/** Options of `BatchStream`. */
export interface BatchOptions {
  /** Rows in a batch, B. Every batch has as many. */
  readonly batchSize: number;
  /** Which shuffle. Any integer; equal seeds give equal streams. */
  readonly seed: number;
  /** Passes over the data. Default: without end. */
  readonly epochs?: number;
  /** Whether to shuffle. Default true. */
  readonly shuffle?: boolean;
  /**
   * What becomes of the rows left over at the end of an epoch: `carry` fills the batch with the first rows of the next
   * epoch (at the end of the last one they are left out), `drop` leaves them out every time. Default `carry`.
   */
  readonly partial?: 'carry' | 'drop';
}

/** Where a stream stands. Plain JSON. */
export interface BatchCursor {
  /** Counted from 0. */
  readonly epoch: number;
  /** Rows of that epoch already given. */
  readonly index: number;
  readonly seed: number;
}

/** An endless or finite iterator of batches. */
export class BatchStream implements IterableIterator<Batch, undefined> {
  readonly #dataset: PackedDataset;
  readonly #options: Required<BatchOptions>;
  #epoch = 0;
  #index = 0;
  #order: Int32Array;

  /**
   * Begins with the first batch.
   * @throws LinnetError `INPUT` if an option is out of range, or there are too few rows for a batch.
   */
  constructor(dataset: PackedDataset, options: BatchOptions) {
    const { batchSize, seed, epochs = Number.POSITIVE_INFINITY, shuffle = true, partial = 'carry' } = options;
    this.#dataset = dataset;
    this.#options = { batchSize, seed, epochs, shuffle, partial };
    if (!isPositiveInteger(batchSize)) throw outOfRange('batchSize', batchSize, 'a positive integer');
    if (!isPositiveInteger(epochs) && epochs !== Number.POSITIVE_INFINITY) {
      throw outOfRange('epochs', epochs, 'a positive integer');
    }
    if (!Number.isInteger(seed)) throw outOfRange('seed', seed, 'an integer');
    const reachable = partial === 'drop' ? dataset.rows : dataset.rows * epochs;
    if (reachable < batchSize || dataset.rows === 0) {
      throw new LinnetError(
        'INPUT',
        `${dataset.rows} rows are too few for a batch of ${batchSize}; give more text, or a smaller batch or row length`,
      );
    }
    this.#order = this.#orderOf(0);
  }

  /**
   * Continues where `state` was taken: the batches that follow are those the first stream would have given.
   * @throws LinnetError `MISMATCH` if the cursor is of another seed or does not fit the data set.
   */
  static fromState(dataset: PackedDataset, options: BatchOptions, state: BatchCursor): BatchStream {
    const stream = new BatchStream(dataset, options);
    const { epoch, index, seed } = state;
    const fits =
      Number.isInteger(epoch) && epoch >= 0 && Number.isInteger(index) && index >= 0 && index <= dataset.rows;
    if (!fits) {
      throw new LinnetError(
        'MISMATCH',
        `the cursor (epoch ${epoch}, row ${index}) lies outside the data of ${dataset.rows} rows; it is of other data`,
      );
    }
    if (seed !== options.seed) {
      throw new LinnetError('MISMATCH', `the cursor is of seed ${seed}, the run of seed ${options.seed}`);
    }
    stream.#epoch = epoch;
    stream.#index = index;
    stream.#order = stream.#orderOf(epoch);
    return stream;
  }

  /** Where the stream stands, after the batches given so far. */
  get state(): BatchCursor {
    return { epoch: this.#epoch, index: this.#index, seed: this.#options.seed };
  }

  /** Batches of the whole stream, from its beginning; infinite without a number of epochs. */
  get totalBatches(): number {
    const { batchSize, epochs, partial } = this.#options;
    const { rows } = this.#dataset;
    return partial === 'drop' ? Math.floor(rows / batchSize) * epochs : Math.floor((rows * epochs) / batchSize);
  }

  [Symbol.iterator](): this {
    return this;
  }

  /** The next batch, or `done` after the last full one. */
  next(): IteratorResult<Batch, undefined> {
    const rows = this.#takeRows();
    return rows === undefined ? { done: true, value: undefined } : { done: false, value: this.#batch(rows) };
  }

  /** The rows of the next batch. Leaves the cursor where it is if there is none. */
  #takeRows(): number[] | undefined {
    const { batchSize, epochs, partial } = this.#options;
    const total = this.#dataset.rows;
    if (partial === 'drop' && total - this.#index < batchSize) {
      if (this.#epoch + 1 >= epochs) return undefined;
      this.#startEpoch(this.#epoch + 1);
    }
    if (total * (epochs - this.#epoch) - this.#index < batchSize) return undefined;
    const rows: number[] = [];
    while (rows.length < batchSize) {
      if (this.#index === total) this.#startEpoch(this.#epoch + 1);
      rows.push(this.#order[this.#index++]);
    }
    return rows;
  }

  #startEpoch(epoch: number): void {
    this.#epoch = epoch;
    this.#index = 0;
    this.#order = this.#orderOf(epoch);
  }

  /** The rows in the order of an epoch: a function of seed and epoch, so that a cursor need not hold it. */
  #orderOf(epoch: number): Int32Array {
    const order = Array.from({ length: this.#dataset.rows }, (_, row) => row);
    if (!this.#options.shuffle) return Int32Array.from(order);
    // The seed is drawn into a word of its own first, or seeds that differ by one would share shuffles.
    const word = new Random(this.#options.seed).nextUint32();
    return Int32Array.from(new Random(word + epoch).shuffle(order));
  }

  #batch(rows: readonly number[]): Batch {
    const { length } = this.#dataset;
    const shape = [rows.length, length];
    const inputs = new Int32Array(rows.length * length);
    const labels = new Int32Array(rows.length * length);
    const weights = new Float32Array(rows.length * length);
    for (const [place, row] of rows.entries()) {
      this.#dataset.copyRow(row, { inputs, labels, weights }, place * length);
    }
    return {
      inputs: tensor('int32', shape, inputs),
      labels: tensor('int32', shape, labels),
      weights: tensor('float32', shape, weights),
      rows,
    };
  }
}

function isPositiveInteger(value: number): boolean {
  return Number.isInteger(value) && value > 0;
}

function outOfRange(name: string, value: number, expected: string): LinnetError {
  return new LinnetError('INPUT', `${name} is ${value}; expected ${expected}`);
}
