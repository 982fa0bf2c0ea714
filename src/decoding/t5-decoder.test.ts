import { describe, expect, it } from 'vitest';
import { relativeToPeak } from '../../test/parity/golden.ts';
import { runGraph } from '../../test/parity/golden-model.ts';
import { goldenT5, goldenT5Names } from '../../test/parity/golden-t5.ts';
import { randomT5Weights, t5MixerNames, tinyT5 } from '../../test/models/tiny-t5.ts';
import { Graph } from '../graph/graph.ts';
import { float32, int32, type Tensor } from '../graph/tensor.ts';
import type { T5Model } from '../models/t5/model.ts';
import { InputParameters } from '../nn/parameters.ts';
import { T5Decoder } from './t5-decoder.ts';

/** Logits [m,V] of one text and what is written about it, over the whole of both. */
async function wholeLogits(
  model: T5Model,
  weights: ReadonlyMap<string, Tensor>,
  text: readonly number[],
  read: readonly number[],
): Promise<Float64Array> {
  const graph = new Graph('whole');
  const source = new InputParameters(graph);
  const mask = graph.input('mask', 'float32', [1, text.length]);
  const encoded = model.encode(source, { tokens: graph.input('tokens', 'int32', [1, text.length]), mask });
  const decoder = { tokens: graph.input('read', 'int32', [1, read.length]), encoded, encodedMask: mask };
  graph.output('logits', model.head(source, model.decode(source, decoder)));
  const { logits } = await runGraph(graph, {
    ...Object.fromEntries([...weights].filter(([name]) => source.values.has(name))),
    ...{ tokens: int32([1, text.length], text), read: int32([1, read.length], read) },
    mask: float32(
      [1, text.length],
      text.map(() => 1),
    ),
  });
  return logits;
}

describe.each(t5MixerNames)('%s', (name) => {
  it('gives step by step what it gives over the whole, for hypotheses of texts of unequal length', async () => {
    const model = tinyT5(name);
    const weights = randomT5Weights(model);
    await using decoder = await T5Decoder.create(model, weights);
    const texts = [
      [3, 4, 5, 6, 7, 8, 9],
      [10, 11, 1],
    ];
    const state = await decoder.read(texts, 2);
    // Two hypotheses of each text, over several groups of 4 and a doubling of the cache.
    const written = Array.from({ length: 4 }, (_, b) =>
      Array.from({ length: 19 }, (__, t) => (t === 0 ? 0 : 2 + ((7 * t + 5 * b + t * b) % 18))),
    );
    const logits: Float32Array[][] = [];
    for (let t = 0; t < 10; t++)
      logits.push(
        await decoder.step(
          state,
          written.map((row) => row[t]),
        ),
      );
    // Both hypotheses of the first text go on from the second; the second text's change places.
    state.select([0, 1], [1, 1, 3, 2]);
    const order = [1, 1, 3, 2];
    for (let t = 10; t < 19; t++)
      logits.push(
        await decoder.step(
          state,
          order.map((from) => written[from][t]),
        ),
      );
    // Then the first text is forgotten.
    state.select([1], [2, 3]);
    expect(state.hypotheses).toBe(2);
    const last = await decoder.step(state, [2, 3]);
    for (const [b, from] of order.entries()) {
      const whole = await wholeLogits(model, weights, texts[Math.floor(b / 2)], [
        ...written[from],
        b % 2 === 0 ? 2 : 3,
      ]);
      const V = model.sizes.vocabulary;
      for (let t = 0; t < 19; t++) {
        const got = logits[t][t < 10 ? from : b];
        expect(relativeToPeak(got, whole.subarray(t * V, (t + 1) * V)), `${b} at ${t}`).toBeLessThan(1e-4);
      }
      if (b >= 2)
        expect(relativeToPeak(last[b - 2], whole.subarray(19 * V, 20 * V)), `${b} at the end`).toBeLessThan(1e-4);
    }
  });
});

describe.each(goldenT5Names)('%s', (name) => {
  it('writes the reference tokens, greedily', async () => {
    const { model, weights, texts, written } = goldenT5(name);
    await using decoder = await T5Decoder.create(model, weights);
    const state = await decoder.read(texts);
    let tokens = texts.map(() => model.startId);
    const found = tokens.map((token) => [token]);
    while (found[0].length < written[0].length) {
      const logits = await decoder.step(state, tokens);
      tokens = logits.map((row) => row.indexOf(Math.max(...row)));
      for (const [s, token] of tokens.entries()) found[s].push(token);
    }
    expect(found).toEqual(written);
  });
});

describe('a state', () => {
  it('does not grow where every mixer has a constant size', async () => {
    const model = tinyT5('relu');
    await using decoder = await T5Decoder.create(model, randomT5Weights(model));
    const [short, long] = [await decoder.read([[2, 1]]), await decoder.read([Array.from({ length: 90 }, () => 2)])];
    expect(short.bytes).toBe(long.bytes);
    for (let t = 0; t < 40; t++) await decoder.step(short, [3]);
    expect(short.bytes).toBe(long.bytes);
  });

  it('is refused where it does not belong', async () => {
    const model = tinyT5('softmax');
    await using decoder = await T5Decoder.create(model, randomT5Weights(model));
    await using other = await T5Decoder.create(tinyT5('softmax'), randomT5Weights(model));
    const state = await decoder.read([[2, 1]], 2);
    await expect(other.step(state, [0, 0])).rejects.toThrow(/another model/);
    await expect(decoder.step(state, [0])).rejects.toThrow(/2 hypotheses need as many tokens/);
    await expect(decoder.step(state, [0, 20])).rejects.toThrow(/token 20 is outside/);
    await expect(decoder.read([])).rejects.toThrow(/no text/);
    await expect(decoder.read([[]])).rejects.toThrow(/at least one token/);
    expect(() => {
      state.select([0], [0, 2]);
    }).toThrow(/are not 2 of each/);
  });
});
