import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bfloat16FromFloat32,
  float16FromFloat32,
  float32FromBfloat16,
  float32FromFloat16,
} from './float-conversion.ts';

/** Value of a 16-bit pattern by the definition of the format, with no bit tricks in common with the code under test. */
function valueOf(bits: number, exponentBits: number): number {
  const fractionBits = 15 - exponentBits;
  const sign = bits >= 0x8000 ? -1 : 1;
  const exponent = Math.floor((bits % 0x8000) / 2 ** fractionBits);
  const fraction = (bits % 2 ** fractionBits) / 2 ** fractionBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
}

/** Round to nearest, ties to even, by bisection over all non-negative patterns of the format. */
function nearestBits(value: number, exponentBits: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  const infinity = (2 ** exponentBits - 1) * 2 ** (15 - exponentBits);
  if (magnitude === Number.POSITIVE_INFINITY) return sign + infinity;
  let low = 0; // the largest pattern not above the value
  let high = infinity;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (valueOf(middle, exponentBits) <= magnitude) low = middle;
    else high = middle;
  }
  // Past the largest finite value the next step counts as if the exponent went on: that is the IEEE overflow rule.
  const step = valueOf(low, exponentBits) - valueOf(low - 1, exponentBits);
  const above = high === infinity ? valueOf(low, exponentBits) + step : valueOf(high, exponentBits);
  const down = magnitude - valueOf(low, exponentBits);
  const up = above - magnitude;
  return sign + (up < down || (up === down && low % 2 === 1) ? high : low);
}

const formats = [
  { name: 'F16', exponentBits: 5, narrow: float16FromFloat32, widen: float32FromFloat16 },
  { name: 'BF16', exponentBits: 8, narrow: bfloat16FromFloat32, widen: float32FromBfloat16 },
];

describe.each(formats)('$name', ({ exponentBits, narrow, widen }) => {
  const everyPattern = Uint16Array.from({ length: 0x10000 }, (_, bits) => bits);

  it('widens every pattern to the value of its definition', () => {
    const widened = widen(everyPattern);
    const wrong = [...everyPattern].filter((bits) => !Object.is(widened[bits], valueOf(bits, exponentBits)));
    expect(wrong).toEqual([]);
  });

  it('narrows every widened pattern back to itself, NaN to a NaN of the same sign', () => {
    const back = narrow(widen(everyPattern));
    const fractionBits = 15 - exponentBits;
    const quiet = 2 ** (fractionBits - 1);
    const expected = everyPattern.map((bits) => (Number.isNaN(valueOf(bits, exponentBits)) ? bits | quiet : bits));
    expect(back).toEqual(expected);
  });

  it('rounds any float32 to the nearest value, ties to even', () => {
    const anyFloat32 = fc
      .integer({ min: 0, max: 0xffffffff })
      .map((word) => new Float32Array(Uint32Array.of(word).buffer));
    fc.assert(
      fc.property(anyFloat32, (one) => {
        fc.pre(!Number.isNaN(one[0]));
        expect(narrow(one)[0]).toBe(nearestBits(one[0], exponentBits));
      }),
      { seed: 7, numRuns: 5000 },
    );
  });

  it('decides exact ties and their float32 neighbours correctly', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0x7ffe }), fc.integer({ min: -1, max: 1 }), (bits, nudge) => {
        const above = valueOf(bits + 1, exponentBits);
        fc.pre(Number.isFinite(above));
        const tie = Math.fround((valueOf(bits, exponentBits) + above) / 2);
        const nudged = new Float32Array(Uint32Array.of(new Uint32Array(Float32Array.of(tie).buffer)[0] + nudge).buffer);
        expect(narrow(nudged)[0]).toBe(nearestBits(nudged[0], exponentBits));
      }),
      { seed: 8, numRuns: 5000 },
    );
  });

  it('keeps a signalling NaN a NaN even when its payload lies in the dropped bits', () => {
    const nan = new Float32Array(Uint32Array.of(0x7f800001, 0xff800001).buffer);
    const [positive, negative] = narrow(nan);
    expect([valueOf(positive, exponentBits), valueOf(negative, exponentBits)]).toEqual([Number.NaN, Number.NaN]);
    expect([positive >>> 15, negative >>> 15]).toEqual([0, 1]);
  });
});

describe('edges of half precision', () => {
  it.each([
    [65504, 0x7bff],
    [65519.99609375, 0x7bff],
    [65520, 0x7c00],
    [2 ** -24, 0x0001],
    [2 ** -25, 0x0000],
    [2 ** -25 * (1 + 2 ** -23), 0x0001],
    [-(2 ** -14) * (1 - 2 ** -11), 0x8400],
    [-0, 0x8000],
  ])('%d has bits %d', (value, bits) => {
    expect(float16FromFloat32(Float32Array.of(value))[0]).toBe(bits);
  });
});
