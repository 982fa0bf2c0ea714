/** Sinks read from farther than a model was trained for: queries stop turning, in both forms alike. */
import { describe, expect, it } from 'vitest';
import { randomParameters, randomTokens, tinyLlama } from './tiny-llama.ts';
import type { MixerInput } from '../../src/attention/kinds/index.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { Graph } from '../../src/graph/graph.ts';
import { dataOf, int32 } from '../../src/graph/tensor.ts';
import { WeightParameters } from '../../src/nn/parameters.ts';
import { compile } from '../../src/runtime/compile.ts';
import { parallelLogits } from '../../src/models/graphs/parallel-graph.ts';

const base: MixerInput = { kind: 'window', group: 8, window: 2, sinks: 3 };

describe('positions of queries for sinks', () => {
  it('are those of the text up to 1,023, and that one from there on', () => {
    const model = tinyLlama([base, { kind: 'softmax' }]);
    const { cos, farCos } = model.positions.at([0, 1023, 1024, 5000], 1, 4);
    const [near, far] = [dataOf(cos, 'float32'), dataOf(farCos, 'float32')];
    const half = near.length / 4;
    expect(far.slice(0, 2 * half)).toEqual(near.slice(0, 2 * half));
    for (const row of [2, 3]) expect(far.slice(row * half, (row + 1) * half)).toEqual(near.slice(half, 2 * half));
  });

  it('are not there without sinks', () => {
    expect(Object.keys(tinyLlama([{ ...base, sinks: 0 }, { kind: 'softmax' }]).positions.values)).toEqual([
      'cos',
      'sin',
    ]);
  });
});

it.each<[string, MixerInput]>([
  ['without memory', base],
  ['with memory', { ...base, memory: { decay: 'learned' } }],
])('a text of 1,100 tokens is read by steps as in parallel, %s', async (_, mixer) => {
  const model = tinyLlama([mixer, mixer]);
  const parameters = randomParameters(model, 3);
  const tokens = Int32Array.from(randomTokens(model, 1100, 4));
  const graph = new Graph('parallel');
  const input = graph.input('tokens', 'int32', [1, tokens.length]);
  graph.output('logits', parallelLogits(model, new WeightParameters(graph, parameters), input));
  await using program = await compile(graph, { threads: 1 });
  const { logits } = await program.run({ tokens: int32([1, tokens.length], tokens) }, ['logits']);
  await using engine = await DecodingEngine.create(model, parameters, { threads: 1 });
  const last = await engine.prefill(engine.newState(), tokens, { chunk: 60 });
  const V = model.sizes.vocabulary;
  const expected = dataOf(logits, 'float32').subarray((tokens.length - 1) * V);
  const peak = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  last.logits.forEach((x, i) => expect(Math.abs(x - expected[i]) / peak).toBeLessThan(2e-4));
});
