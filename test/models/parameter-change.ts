/** How far parameters have moved, for tests. */
import { expect } from 'vitest';
import type { Tensor } from '../../src/graph/tensor.ts';

/** The largest difference between any number of `parameters` and the same one of `others`, which has all of them. */
export function largestChange(parameters: ReadonlyMap<string, Tensor>, others: ReadonlyMap<string, Tensor>): number {
  let largest = 0;
  for (const [name, { data }] of parameters) {
    const other = others.get(name)?.data ?? [];
    expect(other.length, name).toBe(data.length);
    for (let i = 0; i < data.length; i++) largest = Math.max(largest, Math.abs(Number(data[i]) - Number(other[i])));
  }
  return largest;
}
