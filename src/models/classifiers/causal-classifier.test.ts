import { describe, expect, it } from 'vitest';
import { int32 } from '../../graph/tensor.ts';
import { lastTokenRows } from './causal-classifier.ts';

describe('lastTokenRows', () => {
  it('finds the last token that is not padding, whatever comes before it', () => {
    const mask = [1, 1, 0, 0, 1, 1, 1, 1, 1, 0, 1, 0];
    expect(lastTokenRows(mask, 3, 4)).toEqual(int32([3], [1, 7, 10]));
  });

  it('refuses rows of padding and masks of another size', () => {
    expect(() => lastTokenRows([1, 0, 0, 0], 2, 2)).toThrow(/row 1 .* no token/);
    expect(() => lastTokenRows([1, 0, 0], 2, 2)).toThrow(/2 × 2 tokens has a mask of 3/);
  });
});
