import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BatchOptions, type BatchStream, batchStream } from './batches.ts';
import type { PackedBatch } from '../datasets/packed-rows.ts';
import { PackedDataset } from '../datasets/packing.ts';

/** Rows of two predictions; row r is the tokens 3r, 3r+1, 3r+2, so that a batch shows which rows it has. */
function dataset(rows: number): PackedDataset {
  return new PackedDataset({
    length: 2,
    documents: rows,
    padId: 0,
    tokens: Int32Array.from({ length: 3 * rows }, (_, index) => index),
    starts: Int32Array.from({ length: rows }, (_, row) => 3 * row),
    counts: new Int32Array(rows).fill(3),
  });
}

/** The rows of the next `count` batches. */
function take(stream: BatchStream<PackedBatch>, count: number): number[][] {
  const batches: number[][] = [];
  for (let i = 0; i < count; i++) {
    const { inputs } = stream.next().values;
    batches.push(Array.from({ length: inputs.shape[0] }, (_, row) => inputs.data[2 * row] / 3));
  }
  return batches;
}

const sorted = (rows: number[]): number[] => [...rows].sort((a, b) => a - b);
const allRows = (rows: number): number[] => Array.from({ length: rows }, (_, row) => row);

describe('batchStream', () => {
  it('gives batches as tensors', () => {
    const { values } = batchStream(dataset(3), { batchSize: 2, seed: 0, shuffle: false }).next();
    expect(values.inputs).toEqual({ dtype: 'int32', shape: [2, 2], data: Int32Array.of(0, 1, 3, 4) });
    expect(values.labels).toEqual({ dtype: 'int32', shape: [2, 2], data: Int32Array.of(1, 2, 4, 5) });
    expect(values.weights).toEqual({ dtype: 'float32', shape: [2, 2], data: Float32Array.of(1, 1, 1, 1) });
  });

  it('carries left-over rows into the next epoch', () => {
    const stream = batchStream(dataset(3), { batchSize: 2, seed: 0, shuffle: false });
    expect(take(stream, 4)).toEqual([
      [0, 1],
      [2, 0],
      [1, 2],
      [0, 1],
    ]);
  });

  it('fills a batch larger than the data from several epochs', () => {
    const stream = batchStream(dataset(2), { batchSize: 5, seed: 0, shuffle: false });
    expect(take(stream, 1)).toEqual([[0, 1, 0, 1, 0]]);
  });

  it('shows every row once an epoch, each epoch and seed in another order', () => {
    const epochs = (seed: number): number[][] => {
      const rows = take(batchStream(dataset(20), { batchSize: 5, seed }), 12).flat();
      return [rows.slice(0, 20), rows.slice(20, 40), rows.slice(40)];
    };
    const [first, second, third] = epochs(1);
    for (const epoch of [first, second, third]) expect(sorted(epoch)).toEqual(allRows(20));
    const orders = [first, second, third, ...epochs(2), ...epochs(0)].map(String);
    expect(new Set(orders).size).toBe(orders.length);
    expect(epochs(1)).toEqual([first, second, third]);
  });

  it('continues from a cursor exactly as if it had not been stopped', () => {
    const options = fc.record({
      batchSize: fc.integer({ min: 1, max: 7 }),
      seed: fc.integer({ min: -5, max: 5 }),
      shuffle: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.integer({ min: 7, max: 15 }), options, fc.nat(12), (rows, batchOptions: BatchOptions, stop) => {
        const data = dataset(rows);
        const unbroken = take(batchStream(data, batchOptions), 16);
        const stopped = batchStream(data, batchOptions);
        const before = take(stopped, stop);
        const state = JSON.parse(JSON.stringify(stopped.state)) as typeof stopped.state;
        const resumed = batchStream(dataset(rows), batchOptions, state);
        expect([...before, ...take(resumed, 16 - before.length)]).toEqual(unbroken);
      }),
      { seed: 13, numRuns: 300 },
    );
  });

  it('refuses a cursor of another seed or other data', () => {
    const options = { batchSize: 2, seed: 1 };
    for (const state of [
      { epoch: 0, index: 2, seed: 2 },
      { epoch: 0, index: 9, seed: 1 },
      { epoch: -1, index: 0, seed: 1 },
      { epoch: 0.5, index: 0, seed: 1 },
    ]) {
      expect(() => batchStream(dataset(4), options, state)).toThrow(expect.objectContaining({ code: 'MISMATCH' }));
    }
  });

  it.each([
    { batchSize: 0, seed: 0 },
    { batchSize: 1.5, seed: 0 },
    { batchSize: 2, seed: 0.5 },
  ])('refuses %j', (options) => {
    expect(() => batchStream(dataset(4), options)).toThrow(expect.objectContaining({ code: 'INPUT' }));
  });

  it('refuses data without a row', () => {
    expect(() => batchStream(dataset(0), { batchSize: 2, seed: 0 })).toThrow(/there are no rows/);
  });
});
