import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Graph } from '../graph/graph.ts';
import { dataOf, int32 } from '../graph/tensor.ts';
import { parseFlashConfig } from '../models/flash/config.ts';
import { flashLogits, initializeFlash } from '../models/flash/model.ts';
import { InputParameters } from '../nn/parameters.ts';
import { Random } from '../random.ts';
import { compile } from '../runtime/compile.ts';
import { FlashDecoder } from './flash-decoder.ts';

const config = parseFlashConfig({
  model_type: 'flash',
  vocab_size: 13,
  dim: 8,
  depth: 2,
  group_size: 4,
  query_key_dim: 6,
  convolution: 15, // reaches further back than a group
});
const parameters = initializeFlash(config, new Random(1));
const tokens = Array.from({ length: 23 }, (_, t) => (5 * t * t + t) % 13);
let decoder: FlashDecoder;

/** Logits [V] after the last of some tokens, by the parallel form. */
async function parallel(sequence: readonly number[]): Promise<Float32Array> {
  const n = sequence.length;
  const graph = new Graph();
  graph.output('logits', flashLogits(config, new InputParameters(graph), graph.input('tokens', 'int32', [1, n])));
  const program = await compile(graph);
  const { logits } = await program.run({ ...Object.fromEntries(parameters), tokens: int32([1, n], [...sequence]) }, [
    'logits',
  ]);
  await program.dispose();
  return dataOf(logits, 'float32').subarray((n - 1) * config.vocab_size);
}

function expectClose(actual: Float32Array, expected: Float32Array): void {
  expect(actual).toHaveLength(expected.length);
  const peak = Math.max(...expected.map(Math.abs));
  actual.forEach((x, i) => {
    expect(Math.abs(x - expected[i]) / peak).toBeLessThan(2e-5);
  });
}

beforeAll(async () => {
  decoder = await FlashDecoder.create(config, parameters);
});

afterAll(async () => {
  await decoder.dispose();
});

describe('FlashDecoder', () => {
  it('equals the parallel form around the edges of groups and of the convolution', async () => {
    const state = decoder.newState();
    for (const [t, token] of tokens.entries()) {
      const logits = await decoder.advance(state, token);
      if ([1, 3, 4, 5, 8, 9, 15, 16, 17, 23].includes(t + 1)) {
        expectClose(logits, await parallel(tokens.slice(0, t + 1)));
      }
    }
  });

  it('continues forks independently, in a constant number of bytes', async () => {
    const state = decoder.newState();
    const { bytes } = state;
    for (const token of tokens.slice(0, 8)) await decoder.advance(state, token);
    const fork = state.fork();
    const [one, other] = [await decoder.advance(state, 1), await decoder.advance(fork, 2)];
    expectClose(one, await parallel([...tokens.slice(0, 8), 1]));
    expectClose(other, await parallel([...tokens.slice(0, 8), 2]));
    expect([state.bytes, fork.bytes]).toEqual([bytes, bytes]);
    expect([state.length, fork.length]).toEqual([9, 9]);
  });

  it('refuses tokens it does not know, and leaves the state as it was', async () => {
    const state = decoder.newState();
    for (const token of tokens.slice(0, 4)) await decoder.advance(state, token);
    await expect(decoder.advance(state, 13)).rejects.toThrow(/token 13 is outside the vocabulary of 13/);
    expectClose(await decoder.advance(state, tokens[4]), await parallel(tokens.slice(0, 5)));
  });

  it('refuses the state of another model', async () => {
    await using other = await FlashDecoder.create(parseFlashConfig({ ...config }), parameters);
    await expect(other.advance(decoder.newState(), 1)).rejects.toThrow(/belongs to another model/);
  });
});
