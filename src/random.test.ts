import { describe, expect, it } from 'vitest';
import { Random } from './random.ts';

describe('integer', () => {
  it.each([0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 32 + 1, 2 ** 33])('refuses the bound %s', (bound) => {
    expect(() => new Random(1).integer(bound)).toThrow(RangeError);
  });

  it('takes every bound of 32 bits', () => {
    const random = new Random(1);
    expect(random.integer(1)).toBe(0);
    expect(random.integer(2 ** 32)).toBeLessThan(2 ** 32);
  });
});
