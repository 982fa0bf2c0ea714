import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomParameters, tinyLlama } from '../../../test/models/tiny-llama.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import { Random } from '../../random.ts';
import { measuredSizes, nonDecreasing, randomTree, verificationSpeed } from './verification-speed.ts';

describe('step times', () => {
  it('are measured for every size, and do not fall with it', async () => {
    const model = tinyLlama([mixerPreset('augmented', { group: 4, kernel: 5 }), { kind: 'softmax' }]);
    await using engine = await DecodingEngine.create(model, randomParameters(model, 1));
    const times = await verificationSpeed(engine, { nodes: [1, 3, 9], context: 20, depth: 2, rounds: 2 });
    expect(times.map(({ nodes }) => nodes)).toEqual([1, 3, 9]);
    expect(times[0].ms).toBeGreaterThan(0);
    for (const [i, { ms }] of times.entries()) if (i > 0) expect(ms).toBeGreaterThanOrEqual(times[i - 1].ms);
  });

  it('pool neighbours that fall, keeping the sum', () => {
    expect(nonDecreasing([1, 3, 2, 4, 1])).toEqual([1, 2.5, 2.5, 2.5, 2.5]);
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 10, noNaN: true }), { minLength: 1, maxLength: 20 }), (values) => {
        const pooled = nonDecreasing(values);
        const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
        expect(pooled).toHaveLength(values.length);
        expect(sum(pooled)).toBeCloseTo(sum(values), 8);
        for (const [i, value] of pooled.entries())
          if (i > 0) expect(value).toBeGreaterThanOrEqual(pooled[i - 1] - 1e-12);
      }),
      { seed: 4 },
    );
  });

  it('are taken at all small sizes and some larger ones', () => {
    expect(measuredSizes(5)).toEqual([1, 2, 3, 4, 5]);
    expect(measuredSizes(64)).toEqual(expect.arrayContaining([1, 8, 16, 32, 64]));
    expect(measuredSizes(64).length).toBeLessThan(25);
  });

  it('of trees as deep as there are heads', () => {
    for (const depth of [1, 3]) {
      const tree = randomTree(60, depth, new Random(1));
      expect(tree.size).toBe(60);
      expect(tree.height).toBe(depth);
    }
  });
});
