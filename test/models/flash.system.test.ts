/** FLASH in the decoding engine: token shift and values wider than keys, through chunks, trees, batches and sessions. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MixerInput } from '../../src/attention/kinds/index.ts';
import { parseMixer } from '../../src/attention/mixers.ts';
import { mixerPreset, takenOptions } from '../../src/attention/presets.ts';
import { TokenTree } from '../../src/attention/tree.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { restoreSession, saveSession } from '../../src/decoding/state/session-file.ts';
import { checkModel } from '../../src/evaluation/check/check.ts';
import { mixerParity } from '../../src/evaluation/check/forms.ts';
import { Graph } from '../../src/graph/graph.ts';
import { dataOf, int32 } from '../../src/graph/tensor.ts';
import { flashModel } from '../../src/models/families/flash/model.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { parallelLogits } from '../../src/models/graphs/parallel-graph.ts';
import { WeightParameters } from '../../src/nn/parameters.ts';
import { Random } from '../../src/random.ts';
import { compile } from '../../src/runtime/compile.ts';
import { runJson } from '../cli/captured-cli.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { writeBook } from '../cli/text-data.ts';
import { randomTokens } from './tiny-llama.ts';

const json = {
  model_type: 'flash',
  vocab_size: 13,
  dim: 8,
  depth: 2,
  group_size: 4,
  query_key_dim: 6,
  convolution: 15, // reaches further back than a group
  trained_length: 32,
};
const model = flashModel(json);
const parameters = initializeParameters(model, new Random(1), 0.5);
const tokens = randomTokens(model, 23, 3);
let engine: DecodingEngine;

beforeAll(async () => {
  engine = await DecodingEngine.create(model, parameters);
});

afterAll(async () => {
  await engine.dispose();
});

/** Logits [V] after the last of some tokens, by the parallel form. */
async function parallel(sequence: ArrayLike<number>): Promise<Float32Array> {
  const n = sequence.length;
  const graph = new Graph();
  const input = graph.input('tokens', 'int32', [1, n]);
  graph.output('logits', parallelLogits(model, new WeightParameters(graph, parameters), input));
  const program = await compile(graph);
  const { logits } = await program.run({ tokens: int32([1, n], sequence) }, ['logits']);
  await program.dispose();
  return dataOf(logits, 'float32').slice((n - 1) * 13);
}

function expectClose(actual: Float32Array, expected: Float32Array): void {
  const peak = Math.max(...expected.map(Math.abs));
  actual.forEach((x, i) => {
    expect(Math.abs(x - expected[i]) / peak).toBeLessThan(2e-5);
  });
}

describe('decoding', () => {
  it.each([1, 3, 4, 5, 7])('equals the parallel form in chunks of %i', async (chunk) => {
    for (const n of [1, 4, 5, 9, 23]) {
      const state = engine.newState();
      const { logits } = await engine.prefill(state, tokens.subarray(0, n), { chunk });
      expectClose(logits, await parallel(tokens.subarray(0, n)));
    }
  });

  it('is exact on trees across groups, in batches of unequal lengths, and after a path is accepted', async () => {
    const trees = [new TokenTree([-1, 0, 0, 1, 3, 2, 5, 6]), new TokenTree([-1, -1, 0, 1, 3])];
    const lengths = [6, 3];
    const requests = await Promise.all(
      trees.map(async (tree, i) => {
        const state = engine.newState();
        await engine.prefill(state, tokens.subarray(0, lengths[i]));
        const nodes = Array.from({ length: tree.size }, (_, node) => node);
        return { state, tree, tokens: randomTokens(model, tree.size, 9 + i), wanted: nodes };
      }),
    );
    const outputs = await engine.step(requests);
    for (const [i, { tree, tokens: nodeTokens, state }] of requests.entries()) {
      const text = (node: number): number[] => [
        ...tokens.subarray(0, lengths[i]),
        ...tree.pathTo(node).map((at) => nodeTokens[at]),
      ];
      for (let node = 0; node < tree.size; node++) {
        expectClose(outputs[i].logits[node], await parallel(text(node)));
      }
      const last = tree.size - 1;
      await engine.commit(requests[i], outputs[i], tree.pathTo(last));
      const { logits } = await engine.advance(state, 5);
      expectClose(logits, await parallel([...text(last), 5]));
    }
  });

  it('continues forks independently, in a constant number of bytes', async () => {
    const state = engine.newState();
    const { bytes } = state;
    await engine.prefill(state, tokens.subarray(0, 8));
    const fork = state.fork();
    const one = await engine.advance(state, 1);
    const other = await engine.advance(fork, 2);
    expectClose(one.logits, await parallel([...tokens.subarray(0, 8), 1]));
    expectClose(other.logits, await parallel([...tokens.subarray(0, 8), 2]));
    expect([state.bytes, fork.bytes]).toEqual([bytes, bytes]);
  });

  it('goes on from a saved session, shifted features included', async () => {
    const folder = await scratchFolder();
    const state = engine.newState();
    await engine.prefill(state, tokens.subarray(0, 9));
    const path = join(folder, 'session.safetensors');
    await saveSession(path, { state, tokens: tokens.subarray(0, 9), fingerprint: 'f' });
    const restored = await restoreSession(path, engine, 'f');
    expect(restored.state.layers[1].previous).toEqual(state.layers[1].previous);
    const { logits } = await engine.advance(restored.state, 7);
    expectClose(logits, await parallel([...tokens.subarray(0, 9), 7]));
  });
});

describe('linnet pretrain', () => {
  it('takes a preset and a mixer by name, and the vocabulary of the tokenizer', async () => {
    const folder = await scratchFolder();
    await writeBook(join(folder, 'book.txt'));
    const out = join(folder, 'model');
    const data = ['--data', join(folder, 'book.txt'), '--out', out, '--steps', '1', '--batch', '1', '--length', '16'];
    await runJson('pretrain', 'flash-small', '--mixer', 'relu', '--convolution', '--kernel', '5', ...data);
    const reported = await runJson('inspect', out);
    expect(reported).toMatchObject({ family: 'flash', sizes: { vocabulary: 258, headWidth: 128, valueWidth: 512 } });
    expect(reported.mixers).toMatchObject([
      { layers: [0, 5], config: { kind: 'features', convolution: { kernel: 5 } } },
    ]);
  });
});

const units: Readonly<Record<string, MixerInput>> = {
  'laplace, both branches': { kind: 'gau', group: 4 },
  'relu², K beyond the group': { kind: 'gau', group: 4, local: { kernel: 'relu2' }, convolution: { kernel: 15 } },
  'K inside the group': { kind: 'gau', group: 8, convolution: { kernel: 9 } },
  'K inside the group, local alone': { kind: 'gau', group: 7, global: false, convolution: { kernel: 11 } },
  'one tap': { kind: 'gau', group: 4, convolution: { kernel: 1 } },
  'global alone': { kind: 'gau', group: 4, local: null },
  'convolution alone': { kind: 'gau', group: 4, local: null, global: false, convolution: { kernel: 5 } },
  castling: { kind: 'gau', group: 4, castling: true, convolution: { kernel: 5 } },
  'softmax in groups': { kind: 'gau', group: 4, local: { kernel: 'softmax', divisor: 2 } },
  'softmax over the whole text': { kind: 'gau', group: null, local: { kernel: 'softmax', divisor: 32 }, global: false },
  'laplace over the whole text': { kind: 'gau', group: null, local: { divisor: 32, biasDivisor: 4 }, global: false },
  'a group beyond the last bucket': { kind: 'gau', group: 150, local: { kernel: 'relu2' } },
};

describe("the forms of FLASH's attention", () => {
  it.each(Object.entries(units))('%s agree', async (name, input) => {
    for (const heads of [
      { heads: 1, keyValueHeads: 1 },
      { heads: 4, keyValueHeads: 2 },
    ]) {
      const sizes = { ...heads, headWidth: 6, valueWidth: 10 };
      for await (const { ok, error } of mixerParity(name, parseMixer(input), sizes, { maximumLength: 170, seed: 1 })) {
        expect(ok ? 'ok' : error).toBe('ok');
      }
    }
  });
});

describe('linnet check', () => {
  it.each([
    ['relu', 'softmax'],
    ['yoso', 'hedgehog'],
  ])('passes for other mixers in units: %s, %s', async (first, second) => {
    const sizes = { group: 4, kernel: 5, bits: 3, features: 8 };
    const mixers = [first, second].map((name) =>
      mixerPreset(name, { ...takenOptions(name, sizes), convolution: name !== 'softmax' }),
    );
    const mixed = flashModel(json).withMixers(mixers);
    const report = await checkModel(mixed, initializeParameters(mixed, new Random(2), 0.5), { maximumLength: 40 });
    expect(report.rows.filter(({ ok }) => !ok)).toEqual([]);
  });

  it('finds the leak of an unmasked convolution', async () => {
    const leaking = flashModel(json).withMixers(
      model.mixers.map(() => parseMixer({ kind: 'gau', group: 4, convolution: { kernel: 5, masked: false } })),
    );
    const report = await checkModel(leaking, initializeParameters(leaking, new Random(2)), { maximumLength: 40 });
    expect(report).toMatchObject({ leak: true, ok: false });
  });
});
