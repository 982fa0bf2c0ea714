import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { examplesWith } from '../../test/attention/mixer-examples.ts';
import { hybridModels, hybridVariants } from '../../test/models/hybrid-variants.ts';
import { tinyFlash } from '../../test/models/tiny-flash.ts';
import { nextLogits } from '../../test/models/next-logits.ts';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import { blockLinformerSchema } from '../attention/kinds/linformer/config.ts';
import type { MixerInput } from '../attention/kinds/index.ts';
import type { MixerConfig } from '../attention/mixer.ts';
import { growsWithText, mixerDims, parseMixer, stateBytes } from '../attention/mixers.ts';
import { mixerPreset, type PresetOptions, takenOptions } from '../attention/presets.ts';
import { foldStart, openBlock, spanOf } from '../attention/masks.ts';
import { chain, TokenTree } from '../attention/tree.ts';
import { Graph } from '../graph/graph.ts';
import { dataOf, tensor } from '../graph/tensor.ts';
import { type CausalModel, valueWidth } from '../models/model.ts';
import { parallelLogits } from '../models/graphs/parallel-graph.ts';
import { WeightParameters } from '../nn/parameters.ts';
import { Random } from '../random.ts';
import { compile } from '../runtime/compile.ts';
import { DecodingEngine } from './engine.ts';
import type { StepRequest } from './step-engine.ts';
import type { SequenceState } from './state/sequence-state.ts';

const G = 8;
const both = (mixer: MixerInput): readonly MixerInput[] => [mixer, mixer];
const softmax: MixerInput = { kind: 'softmax' };
const small = { group: G, kernel: 9, features: 16, hashes: 4, bits: 3, rows: 3, block: G };
const sized = (name: string, options: PresetOptions): MixerConfig =>
  mixerPreset(name, { ...takenOptions(name, small), ...options });
const augmented: MixerInput = mixerPreset('augmented', { group: G, kernel: 9 });
const local = { kernel: 'softmax' } as const;

const linear = { kind: 'linear', group: G, local: {}, global: {} } as const;

/** Two layers each, of a LLaMA. */
const combinations: Readonly<Record<string, readonly MixerInput[]>> = {
  'hedgehog next to relu, with convolutions': [
    sized('hedgehog', { convolution: true }),
    sized('relu', { convolution: true }),
  ],
  'two redraws, reach beyond the group': [
    sized('performer', { kernel: 63, convolution: true, seed: 1 }),
    sized('performer', { kernel: 63, convolution: true, seed: 2 }),
  ],
  'linformer with a reach beyond its block, next to other blocks': [
    sized('linformer', { kernel: 31, convolution: true }),
    mixerPreset('linformer', { rows: 5, block: 5 }),
  ],
  'linformer next to augmented': [sized('linformer', { convolution: true }), augmented],
  'yoso with a convolution, softmax': [sized('yoso', { convolution: true }), softmax],
  'yoso as a local kernel, without a convolution': both({
    kind: 'linear',
    group: G,
    local: { kernel: 'yoso', bits: 3 },
    global: {},
  }),
  'softmax kernel, without a convolution': both({ kind: 'linear', group: G, local, global: {} }),
  'softmax kernel with λ, K = 63': both({
    kind: 'linear',
    group: G,
    local: { ...local, scale: 'learned' },
    global: {},
    convolution: { kernel: 63 },
  }),
  'normalized global, without a convolution': both({ ...linear, normalize: 'global' }),
  'convolution of one filter weight': both({ kind: 'linear', convolution: { kernel: 1 } }),
  'ungrouped, with a convolution': both({ ...linear, group: 1, convolution: { kernel: 9 } }),
  'augmented, softmax': [augmented, softmax],
  'different groups': [augmented, mixerPreset('augmented', { group: 5, kernel: 9 })],
  'one filter weight next to none': [
    mixerPreset('local+global', { group: G }),
    mixerPreset('augmented', { group: G, kernel: 1 }),
  ],
  'stored keys of both kinds': [augmented, { kind: 'linear', group: G, local, global: {} }],
};

/** Models by the family that some kinds are of. Those of T5 are decoded in `encoder-decoder.test.ts`. */
const models: Readonly<Record<string, (mixers: readonly MixerConfig[]) => CausalModel>> = {
  any: tinyLlama,
  flash: tinyFlash,
  ...hybridModels,
};

/** Every example that can decode, alone in both layers, and combinations. */
const variants: readonly { readonly name: string; readonly model: CausalModel }[] = [
  ...examplesWith('recurrent')
    .filter(({ kind }) => kind.family !== 't5')
    .map(({ name, kind: { family = 'any' }, config }) => ({ name, model: models[family]([config, config]) })),
  ...Object.entries(combinations).map(([name, mixers]) => ({ name, model: tinyLlama(mixers) })),
  ...hybridVariants(softmax, augmented),
];

interface Reference {
  readonly engine: DecodingEngine;
  /** Logits [V] of every token of the texts, which are of one length: [texts][position]. */
  parallel(texts: readonly (readonly number[])[]): Promise<Float32Array[][]>;
}

/** An engine, and the same parameters in the parallel form. */
async function prepare(model: CausalModel): Promise<Reference> {
  const parameters = randomParameters(model, 3);
  const { vocabulary: V } = model.sizes;
  return {
    engine: await DecodingEngine.create(model, parameters, { threads: 1 }),
    async parallel(texts) {
      const length = texts[0].length;
      const graph = new Graph('parallel');
      const tokens = graph.input('tokens', 'int32', [texts.length, length]);
      graph.output('logits', parallelLogits(model, new WeightParameters(graph, parameters), tokens));
      await using program = await compile(graph, { threads: 1 });
      const feed = tensor('int32', [texts.length, length], Int32Array.from(texts.flat()));
      const { logits } = await program.run({ tokens: feed }, ['logits']);
      const data = dataOf(logits, 'float32');
      return texts.map((_, text) =>
        Array.from({ length }, (_, at) => data.subarray((text * length + at) * V, (text * length + at + 1) * V)),
      );
    },
  };
}

/** Largest difference relative to the largest number expected. */
function expectClose(actual: Float32Array, expected: Float32Array, what: string): void {
  const peak = expected.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
  const difference = expected.reduce((largest, x, i) => Math.max(largest, Math.abs(x - actual[i])), 0);
  // One assertion, since every position has one.
  expect(actual.length === expected.length ? difference / peak : Infinity, what).toBeLessThan(2e-4);
}

async function read(engine: DecodingEngine, tokens: readonly number[]): Promise<SequenceState> {
  const state = engine.newState();
  if (tokens.length > 0) await engine.prefill(state, tokens);
  return state;
}

/** Two roots, branches of different depths, and a path longer than a group. */
const parents = [-1, 0, 0, 1, 1, 2, -1, 6, 3, 8, 9, 10, 11, 12, 13, 14];

describe.each(variants)('$name', ({ model }) => {
  const text = [...randomTokens(model, openBlock + 3 * G, 4)];
  let engine: DecodingEngine;
  let parallel: Reference['parallel'];
  beforeAll(async () => ({ engine, parallel } = await prepare(model)));
  afterAll(() => engine.dispose());

  it('reads a prompt in chunks and continues by steps as in parallel', async () => {
    const [expected] = await parallel([text]);
    const promptLengths = [1, G - 1, G, G + 1, 2 * G, 29, openBlock - 2];
    for (const chunk of [1, 3, 7, 128]) {
      const states = new Map<SequenceState, number>();
      let state = engine.newState(); // by single tokens, a longer prompt goes on from a shorter one
      for (const length of promptLengths) {
        state = chunk === 1 ? state.fork() : engine.newState();
        const { logits } = await engine.prefill(state, text.slice(state.length, length), { chunk });
        expectClose(logits, expected[length - 1], `prompt of ${length} in chunks of ${chunk}`);
        states.set(state, length);
      }
      for (let after = 0; after < G + 3; after++) {
        const going = [...states].filter(([state]) => state.length < text.length);
        const lengths = going.map(([state]) => state.length);
        const next = going.map(([state]) => [state, text[state.length]] as const);
        const found = await nextLogits(engine, next, chunk === 1);
        for (const [index, [, length]] of going.entries()) {
          const what = `position ${lengths[index]} after ${length} in chunks of ${chunk}`;
          expectClose(found[index], expected[lengths[index]], what);
        }
      }
    }
  });

  it('reads a text of several of the longest groups as in parallel', async () => {
    const long = [...randomTokens(model, 2 * openBlock + 9, 6)];
    const [expected] = await parallel([long]);
    const { logits } = await engine.prefill(engine.newState(), long, { chunk: 50 });
    expectClose(logits, expected[long.length - 1], 'end');
  });

  it('reads trees at every place of a group, across a fold, and continues after a commit', async () => {
    const tree = new TokenTree(parents);
    const nodeTokens = [...randomTokens(model, tree.size, 5)];
    const paths = parents.map((_, node) => tree.pathTo(node));
    const places = Array.from({ length: G }, (_, place) => openBlock - G + place);
    // Paths after all beginnings as texts of one length: what follows a path does not disturb it. Those to nodes lie on longer ones.
    const ends = [0, 5, 7, 11, 15];
    const written = paths.filter((_, node) => ends.includes(node) || !parents.includes(node));
    const textOf = paths.map((path) => written.findIndex((whole) => path.every((node, i) => whole[i] === node)));
    const longest = openBlock + tree.height + 2;
    const texts = places.map((committed) =>
      written.map((path) => {
        const whole = [...text.slice(0, committed), ...path.map((node) => nodeTokens[node])];
        return [...whole, ...text.slice(0, longest - whole.length)];
      }),
    );
    const all = await parallel(texts.flat());
    for (const [place, committed] of places.entries()) {
      const expected = all.slice(place * written.length, (place + 1) * written.length);
      const state = await read(engine, text.slice(0, committed));
      const request = { state, tree, tokens: nodeTokens, wanted: paths.map((_, node) => node) };
      const [output] = await engine.step([request]);
      output.logits.forEach((logits, node) => {
        expectClose(logits, expected[textOf[node]][committed + tree.depths[node]], `node ${node} after ${committed}`);
      });
      const accepted = ends.map((last) => ({ ...request, state: state.fork(), last }));
      for (const { last, ...fork } of accepted) await engine.commit(fork, output, paths[last]);
      for (let after = 0; after < 2; after++) {
        const at = accepted.map((fork) => fork.state.length);
        const tokens = accepted.map(({ state: fork, last }, i) => [fork, texts[place][textOf[last]][at[i]]] as const);
        for (const [i, logits] of (await nextLogits(engine, tokens)).entries()) {
          const { last } = accepted[i];
          expectClose(logits, expected[textOf[last]][at[i]], `position ${at[i]} after ${last} after ${committed}`);
        }
      }
    }
  });

  it('reads a batch of unequal sequences as it reads them one by one', async () => {
    const caches = engine.layout.slotLayouts.some(({ ring }) => ring === undefined);
    const parts: readonly { length: number; tree: TokenTree }[] = [
      { length: 0, tree: chain(3) },
      { length: 5, tree: new TokenTree(parents) },
      { length: G, tree: chain(1) },
      { length: 29, tree: new TokenTree([-1, 0, 0, 2, -1]) },
      { length: caches ? 270 : 31, tree: chain(11) },
    ];
    const requests: StepRequest[] = [];
    for (const [index, { length, tree }] of parts.entries()) {
      const state = await read(engine, [...randomTokens(model, length, index)]);
      const wanted = index === 2 ? [] : [tree.size - 1, 0];
      requests.push({ state, tree, tokens: randomTokens(model, tree.size, 10 + index), wanted });
    }
    const together = await engine.step(requests);
    const alone = await Promise.all(requests.map((request) => engine.step([request])));
    for (const [index, request] of requests.entries()) {
      const [single] = alone[index];
      expect(together[index].logits.length).toBe(request.wanted.length);
      single.logits.forEach((logits, i) => {
        expectClose(together[index].logits[i], logits, `sequence ${index}`);
        expectClose(together[index].hidden[i], single.hidden[i], `hidden state of sequence ${index}`);
      });
      const path = request.tree.pathTo(request.tree.size - 1);
      const fromBatch = { ...request, state: request.state.fork() };
      await engine.commit(fromBatch, together[index], path);
      await engine.commit(request, single, path);
      const token = text[index];
      const [a, b] = [await engine.advance(fromBatch.state, token), await engine.advance(request.state, token)];
      expectClose(a.logits, b.logits, `after the commit of sequence ${index}`);
    }
  });

  it('has the size that the formula says', async () => {
    const { sizes } = model;
    const { keyValueHeads, shiftWidth = 0 } = sizes;
    const state = await read(engine, text.slice(0, G));
    // Caches and memories have room for more than they hold.
    const formula = (): number =>
      model.mixers.reduce((total, mixer, layer) => {
        const { slots } = state.layout.layers[layer];
        const memory = state.groupRows[layer];
        const room =
          memory === undefined ? 0 : 4 * keyValueHeads * (sizes.headWidth + valueWidth(sizes)) * memory.capacity;
        const context = slots.ring === undefined ? state.positions[slots.index].length : 0;
        const shifted = 4 * shiftWidth; // features of the last token
        return total + room + shifted + stateBytes(mixer, mixerDims(mixer, sizes), 4, context);
      }, 0);
    const first = state.bytes;
    expect(first).toBe(formula());
    for (let read = 0; read < 300; read += 20) await engine.prefill(state, randomTokens(model, 20, read));
    expect(state.length).toBe(G + 300);
    expect(state.bytes).toBe(formula());
    if (model.mixers.some((mixer) => growsWithText(mixer))) expect(state.bytes).toBeGreaterThan(first);
    else expect(state.bytes).toBe(first);
    state.groupRows.forEach((memory, layer) => {
      const linformer = blockLinformerSchema.safeParse(model.mixers[layer]);
      expect(memory !== undefined).toBe(linformer.success);
      if (memory === undefined || !linformer.success) return;
      const { rows, block } = linformer.data;
      expect(memory.count).toBe((rows * foldStart(state.length, { group: block, span: spanOf(block) })) / block);
      expect(memory.capacity).toBeLessThanOrEqual(1.25 * memory.count + 64);
    });
  });
});

describe('an engine', () => {
  const model = tinyLlama([augmented, softmax]);

  it('runs steps asked for at the same time one after the other', async () => {
    const { engine } = await prepare(model);
    const texts = [3, 9, 14, 22].map((length) => [...randomTokens(model, length, length)]);
    const one = async (tokens: number[]): Promise<Float32Array[]> => {
      const state = engine.newState();
      const results = [(await engine.prefill(state, tokens, { chunk: 4 })).logits];
      for (const token of tokens) results.push((await engine.advance(state, token)).logits);
      return results;
    };
    const together = await Promise.all(texts.map(one));
    for (const [index, tokens] of texts.entries()) expect(await one(tokens)).toEqual(together[index]);
    await engine.dispose();
  });

  it('forks into independent states', async () => {
    const { engine } = await prepare(model);
    const state = await read(engine, [...randomTokens(model, 21, 1)]);
    const fork = state.fork();
    const unforked = await read(engine, [...randomTokens(model, 21, 1)]);
    for (const token of randomTokens(model, 20, 2)) await engine.advance(fork, token);
    for (const token of randomTokens(model, 20, 3)) {
      const [a, b] = [await engine.advance(state, token), await engine.advance(unforked, token)];
      expect(a.logits).toEqual(b.logits);
    }
    expect(fork.length).toBe(41);
    await engine.dispose();
  });

  it('stops between chunks when asked to', async () => {
    const { engine } = await prepare(model);
    const state = engine.newState();
    const controller = new AbortController();
    const prompt = randomTokens(model, 30, 1);
    const progress: number[] = [];
    const reading = engine.prefill(state, prompt, {
      chunk: 8,
      signal: controller.signal,
      onProgress: (done) => {
        progress.push(done);
        if (done === 16) controller.abort();
      },
    });
    expect(await errorCode(() => reading)).toBe('ABORTED');
    expect(progress).toEqual([8, 16]);
    expect(state.length).toBe(16);
    const { logits } = await engine.prefill(state, prompt.subarray(16));
    expectClose(logits, (await engine.prefill(engine.newState(), prompt)).logits, 'after a pause');
    await engine.dispose();
  });

  it('refuses what it cannot read', async () => {
    const { engine } = await prepare(model);
    const state = await read(engine, [1, 2, 3]);
    const tree = new TokenTree([-1, 0, 0]);
    const tokens = [4, 5, 6];
    const inputs: (() => Promise<unknown>)[] = [
      () => engine.advance(state, 50),
      () => engine.advance(state, -1),
      () => engine.advance(state, 0.5),
      () => engine.advance(state, Number.NaN),
      () => engine.prefill(state, []),
      () => engine.prefill(state, [1], { chunk: 0 }),
      () => engine.step([]),
      () => engine.step([{ state, tree, tokens: [4, 5], wanted: [0] }]),
      () => engine.step([{ state, tree, tokens, wanted: [3] }]),
      () => engine.step([{ state, tree, tokens, wanted: [0.5] }]),
    ];
    for (const action of inputs) expect(await errorCode(action), String(action)).toBe('INPUT');

    const request = { state, tree, tokens, wanted: [0] };
    const [output] = await engine.step([request]);
    for (const path of [[1], [0, 1, 2], [0, 3], [-1], [0, 0]]) {
      expect(await errorCode(() => engine.commit(request, output, path)), String(path)).toBe('INPUT');
    }
    expect(state.length).toBe(3);
    await engine.commit(request, output, []);
    expect(state.length).toBe(3);
    await engine.commit(request, output, [0, 2]);
    expect(state.length).toBe(5);
    expect(await errorCode(() => engine.commit(request, output, [0, 2]))).toBe('INPUT');

    const other = await prepare(tinyLlama([softmax, softmax]));
    expect(await errorCode(() => other.engine.advance(state, 1))).toBe('MISMATCH');
    expect(await errorCode(() => other.engine.commit(request, output, []))).toBe('MISMATCH');
    await Promise.all([engine.dispose(), other.engine.dispose()]);
  });

  it('refuses mixers that read the future', async () => {
    const leaking = tinyLlama([parseMixer({ kind: 'linear', local: {}, convolution: { kernel: 9, masked: false } })]);
    expect(await errorCode(() => DecodingEngine.create(leaking, randomParameters(leaking, 1)))).toBe('CONFIG');
  });

  it('decodes any random tree like its paths', async () => {
    const { engine, parallel } = await prepare(model);
    const random = new Random(9);
    for (let round = 0; round < 12; round++) {
      const size = 1 + random.integer(20);
      const tree = new TokenTree(Array.from({ length: size }, (_, node) => random.integer(node + 1) - 1));
      const prefix = [...randomTokens(model, random.integer(40), round)];
      const tokens = [...randomTokens(model, size, 100 + round)];
      const state = await read(engine, prefix);
      const [output] = await engine.step([{ state, tree, tokens, wanted: tokens.map((_, node) => node) }]);
      const texts = tokens.map((_, node) => [...prefix, ...tree.pathTo(node).map((other) => tokens[other])]);
      const longest = Math.max(...texts.map((whole) => whole.length));
      const expected = await parallel(
        texts.map((whole) => [...whole, ...Array<number>(longest - whole.length).fill(0)]),
      );
      output.logits.forEach((logits, node) => {
        expectClose(logits, expected[node][texts[node].length - 1], `round ${round}, node ${node}`);
      });
    }
    await engine.dispose();
  });
});
