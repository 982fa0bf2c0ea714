import { describe, expect, it } from 'vitest';
import { dataOf } from '../graph/tensor.ts';
import { type RotaryConfig, rotaryFrequencies, rotaryPositions } from './positions.ts';

/** LLaMA 3.1 8B. */
const llama3: RotaryConfig = {
  width: 128,
  base: 500_000,
  scaling: { type: 'llama3', factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalLength: 8192 },
};

/** The frequencies of LLaMA 3.1 as one blend: `kept` is the share of a frequency that is not divided by the factor. */
function blended(pair: number): number {
  const frequency = 500_000 ** (-pair / 64);
  const turns = (8192 * frequency) / (2 * Math.PI); // within the original length
  const kept = Math.min(1, Math.max(0, (turns - 1) / (4 - 1)));
  return frequency * (kept + (1 - kept) / 8);
}

describe('rotaryFrequencies', () => {
  it('falls geometrically from 1', () => {
    const frequencies = rotaryFrequencies({ width: 8, base: 10_000 });
    [1, 0.1, 0.01, 0.001].forEach((expected, i) => {
      expect(frequencies[i] / expected).toBeCloseTo(1, 7);
    });
  });

  it('is not changed by linear scaling, which divides positions', () => {
    const scaled = rotaryFrequencies({ width: 8, base: 10_000, scaling: { type: 'linear', factor: 4 } });
    expect(scaled).toEqual(rotaryFrequencies({ width: 8, base: 10_000 }));
  });

  it('keeps, blends and divides as LLaMA 3.1 does', () => {
    const frequencies = rotaryFrequencies(llama3);
    expect(frequencies).toHaveLength(64);
    const plain = rotaryFrequencies({ width: 128, base: 500_000 });
    const ratios = Array.from(frequencies, (frequency, i) => frequency / plain[i]);
    expect(ratios[0]).toBe(1);
    expect(ratios[63]).toBe(1 / 8);
    const between = ratios.filter((ratio) => ratio < 1 && ratio > 1 / 8);
    expect(between.length).toBeGreaterThan(3);
    expect(ratios).toEqual([...ratios].sort((a, b) => b - a));
    frequencies.forEach((frequency, i) => {
      expect(frequency / blended(i)).toBeCloseTo(1, 6);
    });
  });

  it('needs pairs', () => {
    expect(() => rotaryFrequencies({ width: 7, base: 10_000 })).toThrow(
      expect.objectContaining({ code: 'CONFIG', message: 'rotary embedding needs an even head width, got 7' }),
    );
  });
});

describe('rotaryPositions', () => {
  const positions = [0, 1, 2, 100, 4095, 131_071];

  it.each<[string, RotaryConfig, (position: number, pair: number) => number]>([
    ['plain', { width: 16, base: 10_000 }, (position, pair) => position * 10_000 ** (-pair / 8)],
    [
      'linear',
      { width: 16, base: 1000, scaling: { type: 'linear', factor: 2.5 } },
      (position, pair) => (position / 2.5) * 1000 ** (-pair / 8),
    ],
    ['llama3', llama3, (position, pair) => position * blended(pair)],
  ])('has cosines and sines of position · frequency: %s', (_, config, angle) => {
    const half = config.width / 2;
    const { cos, sin } = rotaryPositions(config).at(positions, 2, 3);
    expect([cos.shape, sin.shape]).toEqual([
      [2, 3, half],
      [2, 3, half],
    ]);
    const [cosines, sines] = [dataOf(cos, 'float32'), dataOf(sin, 'float32')];
    positions.forEach((position, row) => {
      for (let pair = 0; pair < half; pair++) {
        const expected = angle(position, pair);
        // Angles are float32, as in the reference implementations.
        const tolerance = 2e-7 * (1 + Math.abs(expected));
        expect(Math.abs(cosines[row * half + pair] - Math.cos(expected))).toBeLessThan(tolerance);
        expect(Math.abs(sines[row * half + pair] - Math.sin(expected))).toBeLessThan(tolerance);
      }
    });
  });
});
