import { describe, expect, it } from 'vitest';
import { Graph } from '../graph/graph.ts';
import { int32 } from '../graph/tensor.ts';
import {
  declarePositions,
  learnedPositions,
  noPositions,
  type PositionEncoding,
  rotaryPositions,
} from './positions.ts';

const encodings: Readonly<Record<string, PositionEncoding>> = {
  none: noPositions,
  learned: learnedPositions(8),
  rotary: rotaryPositions({ width: 6, base: 10000 }),
};

describe.each(Object.entries(encodings))('%s positions', (_, encoding) => {
  it('gives the values that it declares', () => {
    const graph = new Graph();
    const declared = declarePositions(encoding, graph);
    const values = encoding.at([0, 1, 2, 5, 6, 7], 2, 3);
    expect(Object.keys(values)).toEqual(Object.keys(declared));
    for (const [name, value] of Object.entries(declared)) {
      expect(values[name].dtype).toBe(value.dtype);
      expect(values[name].shape).toEqual([2, 3, ...value.shape.slice(2)]);
      expect(values[name].data).toHaveLength(values[name].shape.reduce((a, b) => a * b, 1));
    }
  });
});

describe('learnedPositions', () => {
  it('are the positions themselves, up to the end of the table', () => {
    const positions = learnedPositions(8);
    expect(positions.at([7, 0], 1, 2).positions).toEqual(int32([1, 2], [7, 0]));
    expect(() => positions.at([7, 8], 1, 2)).toThrow(/position 8 is beyond .* 0 to 7; give at most 8 tokens/);
  });
});
