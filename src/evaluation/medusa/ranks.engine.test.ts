import { describe, expect, it } from 'vitest';
import { randomParameters, randomTokens, tinyLlama } from '../../../test/models/tiny-llama.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import { float32, type Tensor } from '../../graph/tensor.ts';
import { MedusaHeads } from '../../models/medusa/medusa-heads.ts';
import { medusaParameters } from '../../models/medusa/medusa.ts';
import { Random } from '../../random.ts';
import { headRanks, topAccuracy } from './ranks.ts';

const model = tinyLlama([mixerPreset('augmented', { group: 4, kernel: 5 }), { kind: 'softmax' }]);
const config = { heads: 3, layers: 1 };

function allParameters(): Map<string, Tensor> {
  const random = new Random(2);
  const heads = [...medusaParameters(config, model.sizes)].map(([name, { shape }]): [string, Tensor] => {
    const count = shape.reduce((a, b) => a * b, 1);
    return [
      name,
      float32(
        shape,
        Array.from({ length: count }, () => 0.3 * random.normal()),
      ),
    ];
  });
  return new Map([...randomParameters(model, 1), ...heads]);
}

describe('ranks of Medusa heads', () => {
  it('count the tokens that a head held likelier than the one that came', async () => {
    const parameters = allParameters();
    const windows = [
      { tokens: randomTokens(model, 13, 1), scoredFrom: 1 },
      { tokens: randomTokens(model, 9, 2), scoredFrom: 4 },
      { tokens: randomTokens(model, 2, 3), scoredFrom: 1 }, // too short for any head
    ];
    const { heads, positions, ranks } = await headRanks(model, config, parameters, windows);
    expect(heads).toBe(3);

    // The same from the decoding engine, a token at a time.
    await using engine = await DecodingEngine.create(model, parameters);
    await using medusa = await MedusaHeads.create(config, model.sizes, parameters);
    const V = model.sizes.vocabulary;
    const expected: number[] = [];
    for (const { tokens, scoredFrom } of windows) {
      const state = engine.newState();
      for (let t = 0; t + 2 < tokens.length; t++) {
        const { hidden } = await engine.advance(state, tokens[t]);
        const { data } = await medusa.logits(hidden);
        if (t + 1 < scoredFrom) continue;
        for (let head = 0; head < 3; head++) {
          const truth = tokens[t + 2 + head];
          const logits = data.subarray(head * V, (head + 1) * V);
          expected.push(truth === undefined ? -1 : logits.filter((logit) => logit > logits[truth]).length);
        }
      }
    }
    expect([...ranks]).toEqual(expected);
    expect(positions).toBe(expected.length / 3);
    expect(expected.filter((rank) => rank < 0).length).toBe(2 * (1 + 2));
  });

  it('refuses text without a position', async () => {
    const windows = [{ tokens: Int32Array.of(1, 2), scoredFrom: 1 }];
    await expect(headRanks(model, config, allParameters(), windows)).rejects.toMatchObject({ code: 'INPUT' });
  });

  it('become accuracy within the top k', () => {
    const ranks = { heads: 2, positions: 4, ranks: Int32Array.of(0, 2, 1, -1, 0, 1, 5, -1) };
    expect(topAccuracy(ranks, 3)).toEqual([
      [0.5, 0.75, 0.75],
      [0, 0.5, 1],
    ]);
    expect(topAccuracy({ heads: 1, positions: 1, ranks: Int32Array.of(-1) }, 2)).toEqual([[]]);
  });
});
