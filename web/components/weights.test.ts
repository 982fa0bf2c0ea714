import { expect, it } from 'vitest';
import { branchesOf, rowsAt, sizes, total } from './weights.ts';

/** Two heads, three positions. */
const weights = {
  memory: Float32Array.of(0, 0, 0, 0, 0, 0, -2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0),
  window: Float32Array.of(1, 0, 0, 1, 1, 0, 0, 0.5, 0.25, 1, 0, 0, 1, 1, 0, 0, 2, 3),
};

it('finds the rows of a head and position, and adds up their sizes', () => {
  expect(branchesOf(weights)).toEqual(['window', 'memory']);
  const rows = rowsAt(weights, 0, 2, 3);
  expect(rows).toEqual({ window: Float32Array.of(0, 0.5, 0.25), memory: Float32Array.of(-2, 0, 0) });
  expect(sizes(rows)).toEqual({ window: 0.75, memory: 2 });
  expect(sizes(rows, 0, 2)).toEqual({ window: 0.5, memory: 2 });
  expect(total(sizes(rowsAt(weights, 1, 2, 3)))).toBe(6);
});
