import { describe, expect, it } from 'vitest';
import { randomParameters, randomTokens, tinyLlama } from '../../../test/models/tiny-llama.ts';
import { float32, type Tensor } from '../../graph/tensor.ts';
import { perplexity, perplexityByPosition } from '../perplexity/perplexity.ts';
import { tokenLosses } from '../perplexity/losses.ts';
import { copyRecall, recallProbes } from './copy-recall.ts';

const model = tinyLlama([{ kind: 'softmax' }, { kind: 'window', group: 4, memory: {} }]);
const parameters = new Map<string, Tensor<'float32'>>(
  [...randomParameters(model, 3)].map(([name, { shape, data }]) => [
    name,
    float32(shape, Float32Array.from(data, Number)),
  ]),
);
const text = randomTokens(model, 300, 5);

describe('tokenLosses', () => {
  it('has the mean that perplexity has, whatever the lengths', async () => {
    const windows = [2, 63, 65, 200].map((length) => ({ tokens: text.slice(0, length), scoredFrom: 1 }));
    const losses = await tokenLosses(model, parameters, windows, { threads: 1 });
    expect(losses.map(({ length }) => length)).toEqual([1, 62, 64, 199]);
    const mean = losses.flatMap((row) => [...row]).reduce((a, b) => a + b, 0) / (1 + 62 + 64 + 199);
    const { nll } = await perplexity(model, parameters, { windows, documents: 4 }, { threads: 1 });
    expect(mean).toBeCloseTo(nll, 5);
  });

  it('is reported by position in ranges that double', async () => {
    const [row] = await tokenLosses(model, parameters, [{ tokens: text, scoredFrom: 1 }], { threads: 1 });
    const ranges = perplexityByPosition([row]);
    expect(ranges.map(({ from, to, tokens }) => [from, to, tokens])).toEqual([
      [1, 63, 63],
      [64, 127, 64],
      [128, 255, 128],
      [256, 511, 44],
    ]);
    const first = Math.exp(row.slice(0, 63).reduce((a, b) => a + b, 0) / 63);
    expect(ranges[0].perplexity).toBeCloseTo(first, 5);
  });
});

describe('recallProbes', () => {
  it('show a passage twice, so far apart as asked', () => {
    const probes = recallProbes(text, { distances: [10, 100], passage: 6, cue: 2, count: 3 }, [1]);
    expect(probes).toHaveLength(6);
    for (const { tokens, distance, scoredFrom } of probes) {
      expect(tokens).toHaveLength(1 + 6 + distance + 6);
      expect(tokens.slice(1, 7)).toEqual(tokens.slice(7 + distance));
      expect(scoredFrom).toBe(1 + 6 + distance + 2);
    }
  });

  it('need text enough', () => {
    expect(() => recallProbes(text, { distances: [290] })).toThrow(/needs 306 tokens, the text has 300/);
  });
});

it('copyRecall is the mean over what comes after the cue, by distance', async () => {
  const probes = recallProbes(text, { distances: [10, 40], passage: 6, cue: 2, count: 3 });
  const results = await copyRecall(model, parameters, probes, { threads: 1 });
  expect(results.map(({ distance, probes: count }) => [distance, count])).toEqual([
    [10, 3],
    [40, 3],
  ]);
  const losses = await tokenLosses(model, parameters, probes, { threads: 1 });
  const scored = losses.slice(0, 3).flatMap((row) => [...row.slice(-4)]);
  expect(results[0].nll).toBeCloseTo(scored.reduce((a, b) => a + b, 0) / 12, 5);
});
