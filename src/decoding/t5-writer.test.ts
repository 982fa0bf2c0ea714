import { describe, expect, it } from 'vitest';
import { goldenT5, goldenT5Names } from '../../test/parity/golden-t5.ts';
import { randomT5Weights, tinyT5 } from '../../test/models/tiny-t5.ts';
import { T5Decoder } from './t5-decoder.ts';
import { writeByBeams, writeTexts } from './t5-writer.ts';

const texts = [
  [3, 4, 5, 6, 7, 8, 1],
  [9, 10, 1],
  [11, 1],
  [12, 13, 14, 15, 1],
];

describe.each(goldenT5Names)('%s', (name) => {
  it('writes the reference tokens', async () => {
    const { model, weights, texts: read, written } = goldenT5(name);
    await using decoder = await T5Decoder.create(model, weights);
    const expected = written.map(([_, ...tokens]) => tokens);
    const maxTokens = expected[0].length;
    const greedy = await writeTexts(decoder, read, { maxTokens, ignoreEos: true });
    expect(greedy.map(({ tokens }) => tokens)).toEqual(expected);
    const oneBeam = await writeByBeams(decoder, read, 1, { maxTokens, ignoreEos: true });
    expect(oneBeam.map(([{ tokens }]) => tokens)).toEqual(expected);
  });
});

describe.each(['softmax', 'local+global', 'performer'])('%s', (name) => {
  it('writes each of several texts as it writes it alone, greedily and by beams', async () => {
    const model = tinyT5(name);
    await using decoder = await T5Decoder.create(model, randomT5Weights(model, 8));
    const [greedy, beams] = [
      await writeTexts(decoder, texts, { maxTokens: 12 }),
      await writeByBeams(decoder, texts, 3, { maxTokens: 12, best: 2 }),
    ];
    for (const [i, text] of texts.entries()) {
      expect(await writeTexts(decoder, [text], { maxTokens: 12 })).toEqual([greedy[i]]);
      const [alone] = await writeByBeams(decoder, [text], 3, { maxTokens: 12, best: 2 });
      expect(alone.map(({ tokens }) => tokens)).toEqual(beams[i].map(({ tokens }) => tokens));
    }
  });
});

describe('beams', () => {
  it('are worth what the model says of their tokens, and find the best there is where they are enough', async () => {
    const model = tinyT5('local+global');
    const { vocabulary: V } = model.sizes;
    await using decoder = await T5Decoder.create(model, randomT5Weights(model, 5));
    const logProbabilities = (row: Float32Array): number[] => {
      const largest = Math.max(...row);
      const total = largest + Math.log(row.reduce((sum, x) => sum + Math.exp(x - largest), 0));
      return Array.from(row, (x) => x - total);
    };
    for (const text of texts.slice(0, 2)) {
      // All pairs of tokens, V at a time.
      const state = await decoder.read([text], V);
      const first = logProbabilities((await decoder.step(state, new Array<number>(V).fill(model.startId)))[0]);
      const second = await decoder.step(
        state,
        Array.from({ length: V }, (_, token) => token),
      );
      const pairs = first.flatMap((p, token) =>
        token === 1
          ? [{ tokens: new Array<number>(), score: p }]
          : logProbabilities(second[token]).map((next, after) => ({
              tokens: after === 1 ? [token] : [token, after],
              score: (p + next) / 2,
            })),
      );
      pairs.sort((a, b) => b.score - a.score);
      const [found] = await writeByBeams(decoder, [text], V, { maxTokens: 2, best: 5, earlyStopping: 'never' });
      expect(found.map(({ tokens }) => tokens)).toEqual(pairs.slice(0, 5).map(({ tokens }) => tokens));
      for (const [i, { score }] of found.entries()) expect(score).toBeCloseTo(pairs[i].score, 4);
    }
  });
});
