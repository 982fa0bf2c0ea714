import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatFixed,
  formatNumber,
  formatPercent,
  formatRatio,
  formatShortCount,
  formatTokens,
} from './quantities.ts';

describe('formatFixed and formatCount', () => {
  it('groups thousands and keeps decimals', () => {
    expect(formatFixed(1234.5, 2)).toBe('1,234.50');
    expect(formatFixed(999.999, 2)).toBe('1,000.00');
    expect(formatCount(1234567)).toBe('1,234,567');
    expect(formatCount(-1234)).toBe('−1,234');
    expect([1, 2000].map((count) => formatCount(count, 'row'))).toEqual(['1 row', '2,000 rows']);
    expect(formatCount(100)).toBe('100');
  });

  it('gives no sign to what rounds to zero', () => {
    expect(formatFixed(-0.001, 2)).toBe('0.00');
  });

  it('spells what is not finite', () => {
    expect([NaN, Infinity, -Infinity].map((value) => formatFixed(value, 2))).toEqual(['NaN', '∞', '−∞']);
  });
});

describe('formatNumber', () => {
  it.each([
    [0, '0'],
    [5.3617, '5.362'],
    [0.0123457, '0.01235'],
    [12345.6, '12,346'],
    [100, '100'],
    [1.5, '1.5'],
    [-7.038, '−7.038'],
    [2e-5, '2e-5'],
    [1.234e-7, '1.23e-7'],
    [1e20, '1.000e20'],
  ])('%d is %s', (value, spelled) => {
    expect(formatNumber(value)).toBe(spelled);
  });

  it('stays within half a unit of its last digit', () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-4, max: 1e14, noNaN: true }), (value) => {
        const read = Number(formatNumber(value, 4).replaceAll(',', ''));
        expect(Math.abs(read - value)).toBeLessThanOrEqual(value * 0.5001e-3);
      }),
      { seed: 1 },
    );
  });
});

describe('formatShortCount', () => {
  it.each([
    [0, '0'],
    [999, '999'],
    [1000, '1K'],
    [12345, '12.3K'],
    [999_960, '1.00M'],
    [1_234_567, '1.23M'],
    [7e9, '7B'],
    [5e15, '5000T'],
  ])('%d is %s', (value, spelled) => {
    expect(formatShortCount(value)).toBe(spelled);
  });
});

describe('formatBytes', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.50 KiB'],
    [1024 * 1024 - 1, '1.00 MiB'],
    [123 * 1024 ** 2, '123 MiB'],
    [1000 * 1024 ** 2, '1000 MiB'],
    [3 * 1024 ** 3, '3 GiB'],
  ])('%d is %s', (value, spelled) => {
    expect(formatBytes(value)).toBe(spelled);
  });
});

describe('formatTokens', () => {
  it('abbreviates whole multiples of 1024 alone', () => {
    expect([64, 1000, 1024, 16384, 1024 * 1024, 0].map(formatTokens)).toEqual(['64', '1,000', '1K', '16K', '1M', '0']);
  });
});

describe('formatDuration', () => {
  it.each([
    [0, '0 s'],
    [1.5e-7, '150 ns'],
    [0.00123, '1.23 ms'],
    [0.0099999, '10.0 ms'],
    [1, '1 s'],
    [59.94, '59.9 s'],
    [59.96, '1m 00s'],
    [75, '1m 15s'],
    [3599.6, '1h 00m'],
    [7380, '2h 03m'],
    [200_000, '2d 07h'],
  ])('%d seconds are %s', (value, spelled) => {
    expect(formatDuration(value)).toBe(spelled);
  });
});

describe('formatRatio and formatPercent', () => {
  it('carry their signs', () => {
    expect(formatRatio(1.852)).toBe('1.85×');
    expect(formatRatio(120)).toBe('120×');
    expect(formatPercent(0.1234)).toBe('12.3 %');
    expect(formatPercent(-0.5, 0)).toBe('−50 %');
  });
});
