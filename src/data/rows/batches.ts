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

/** Options of `batchStream`. */
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
export interface BatchStream<B extends BatchTensors = BatchTensors> {
  /** Where the stream is, after the batches given so far. */
  readonly state: BatchCursor;
  /** The next batch. */
  next(): Batch<B>;
}

/**
 * @param start where the `state` of another stream was taken: the batches that follow are those it would have given. Default:
 *   the first batch
 * @throws LinnetError `INPUT` if an option is out of range, or there are too few rows for a batch; `MISMATCH` if `start` is of
 *   another seed or does not fit the data set
 */
export function batchStream<B extends BatchTensors>(
  dataset: RowSource<B>,
  { batchSize, seed, shuffle = true }: BatchOptions,
  start?: BatchCursor,
): BatchStream<B> {
  if (!Number.isInteger(batchSize) || batchSize < 1) throw outOfRange('batchSize', batchSize, 'a positive integer');
  if (!Number.isInteger(seed)) throw outOfRange('seed', seed, 'an integer');
  const { rows } = dataset;
  if (rows === 0) {
    throw new LinnetError('INPUT', 'there are no rows for a batch; give more text, or a smaller row length');
  }
  let { epoch, index } = start ?? { epoch: 0, index: 0 };
  if (!([epoch, index].every((count) => Number.isInteger(count) && count >= 0) && index <= rows)) {
    throw new LinnetError(
      'MISMATCH',
      `the cursor (epoch ${epoch}, row ${index}) lies outside the data of ${rows} rows; it is of other data`,
    );
  }
  if (start !== undefined && start.seed !== seed) {
    throw new LinnetError('MISMATCH', `the cursor is of seed ${start.seed}, the run of seed ${seed}`);
  }
  /** The rows in the order of the epoch: a function of seed and epoch, so that a cursor need not hold it. */
  const orderNow = (): Int32Array => {
    const inOrder = Array.from({ length: rows }, (_, row) => row);
    if (!shuffle) return Int32Array.from(inOrder);
    // The seed is drawn into a word of its own first, or seeds that differ by one would share shuffles.
    const word = new Random(seed).nextUint32();
    return Int32Array.from(new Random(word + epoch).shuffle(inOrder));
  };
  let order = orderNow();
  return {
    get state() {
      return { epoch, index, seed };
    },
    next() {
      const visits: RowVisit[] = [];
      while (visits.length < batchSize) {
        if (index === rows) {
          epoch++;
          index = 0;
          order = orderNow();
        }
        visits.push({ row: order[index++], epoch });
      }
      return { values: dataset.batch(visits), visits };
    },
  };
}

function outOfRange(name: string, value: number, expected: string): LinnetError {
  return new LinnetError('INPUT', `${name} is ${value}; expected ${expected}`);
}
