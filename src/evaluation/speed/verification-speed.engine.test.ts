import { describe, expect, it } from 'vitest';
import { randomParameters, tinyLlama } from '../../../test/models/tiny-llama.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import { Random } from '../../random.ts';
import { randomTree, verificationSpeed } from './verification-speed.ts';

describe('step times', () => {
  it('are measured for every size', async () => {
    const model = tinyLlama([mixerPreset('augmented', { group: 4, kernel: 5 }), { kind: 'softmax' }]);
    await using engine = await DecodingEngine.create(model, randomParameters(model, 1));
    expect(engine.comparesBits).toBe(true);
    const times = await verificationSpeed(engine, { nodes: [1, 3, 9], context: 20, depth: 2, rounds: 2 });
    expect(times.map(({ nodes }) => nodes)).toEqual([1, 3, 9]);
    expect(engine.comparesBits).toBe(false);
    for (const { ms } of times) expect(ms).toBeGreaterThan(0);
  });

  it('of trees as deep as there are heads', () => {
    for (const depth of [1, 3]) {
      const tree = randomTree(60, depth, new Random(1));
      expect(tree.size).toBe(60);
      expect(tree.height).toBe(depth);
    }
  });
});
