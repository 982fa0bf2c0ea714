/** The order in which training sees its rows: shuffled anew each epoch, batched, resumable at any batch. */
import { LinnetError } from '../../errors.ts';
import { Random } from '../../random.ts';
import type { BatchTensors, RowSource, RowVisit } from './row-dataset.ts';

/** Some rows of a data set. */
export interface Batch<B extends BatchTensors = BatchTensors> {
  /** The rows' arrays, by input name. */
  readonly values: B;
  /** Which rows these are. */
  readonly visits: readonly RowVisit[];
}

/** Options of `batchStream`. */
export interface BatchOptions {
  /** Rows per batch, B; the same for every batch. */
  readonly batchSize: number;
  /** Seeds the shuffle. Any integer; equal seeds give equal streams. */
  readonly seed: number;
  /** Whether to shuffle. Default true. */
  readonly shuffle?: boolean;
}

/** A stream's position. Plain JSON. */
export interface BatchCursor {
  /** Counted from 0. */
  readonly epoch: number;
  /** Rows of that epoch already returned. */
  readonly index: number;
  readonly seed: number;
}

/** Endless batches. An epoch's leftover rows share a batch with the next epoch's first rows. */
export interface BatchStream<B extends BatchTensors = BatchTensors> {
  /** The position after the batches returned so far. */
  readonly state: BatchCursor;
  /** The next batch. */
  next(): Batch<B>;
}

/**
 * @param start another stream's `state`: continues with the batches that stream would have returned. Default: the first batch
 * @throws LinnetError `INPUT` if an option is out of range, or a batch needs more rows than there are; `MISMATCH` if `start`
 *   has another seed or does not fit the data set
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
      `the cursor (epoch ${epoch}, row ${index}) lies outside the data of ${rows} rows; it belongs to other data`,
    );
  }
  if (start !== undefined && start.seed !== seed) {
    throw new LinnetError('MISMATCH', `the cursor has seed ${start.seed}, the run has seed ${seed}`);
  }
  /** The epoch's row order: a function of seed and epoch, so a cursor need not store it. */
  const orderNow = (): Int32Array => {
    const inOrder = Array.from({ length: rows }, (_, row) => row);
    if (!shuffle) return Int32Array.from(inOrder);
    // Hash the seed into a word first: otherwise seeds that differ by one would share shuffles.
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
