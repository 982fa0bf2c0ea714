/** T5 in the decoding engine, with every mixer: by steps, chunks, trees and beams as over whole texts. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mixerExamples } from '../attention/mixer-examples.ts';
import { errorCode } from '../error-code.ts';
import { wholeLogits } from '../models/t5-whole.ts';
import { randomParameters, tinyLlama } from '../models/tiny-llama.ts';
import { randomT5Weights, t5MixerNames, tinyT5, tinyT5With } from '../models/tiny-t5.ts';
import { relativeToPeak } from '../parity/golden.ts';
import { goldenT5, goldenT5Names } from '../parity/golden-t5.ts';
import { linformerSchema } from '../../src/attention/kinds/linformer/config.ts';
import { t5Problems } from '../../src/attention/kinds/t5-linear/forms.ts';
import { isCausal } from '../../src/attention/mixers.ts';
import { chain, TokenTree } from '../../src/attention/tree.ts';
import { Random } from '../../src/random.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { generateToEnd } from './generated.ts';
import { bestBeams } from './beams.ts';
import type { SequenceState } from '../../src/decoding/state/sequence-state.ts';

/** Lets every state read a token, in one step. @returns logits [V] of what follows, per state */
async function stepAll(
  engine: DecodingEngine,
  states: readonly SequenceState[],
  tokens: readonly number[],
): Promise<Float32Array[]> {
  const requests = states.map((state, b) => ({ state, tree: chain(1), tokens: [tokens[b]], wanted: [0] }));
  const outputs = await engine.step(requests);
  for (const [b, request] of requests.entries()) await engine.commit(request, outputs[b], [0]);
  return outputs.map(({ logits }) => logits[0]);
}

/** A start token and others, the same for the same numbers. */
function generated(length: number, row = 0): number[] {
  return Array.from({ length }, (_, t) => (t === 0 ? 0 : 2 + ((7 * t + 5 * row + t * row) % 18)));
}

/** Two roots, branches of different depths, and a path longer than a group. */
const parents = [-1, 0, 0, 1, 1, 2, -1, 6, 3, 8, 9, 10, 11, 12, 13, 14];

const texts = [
  [3, 4, 5, 6, 7, 8, 1],
  [9, 10, 1],
  [11, 1],
  [12, 13, 14, 15, 1],
];

/** Every mixer in all attentions, and every example that a decoder can have in the decoder. */
const variants = [
  ...t5MixerNames.map((name) => ({ name, model: tinyT5(name) })),
  ...mixerExamples
    .filter(({ kind: { family = 't5', recurrent }, config }) => {
      return family === 't5' && recurrent !== undefined && isCausal(config) && t5Problems(config).length === 0;
    })
    .map(({ name, config }) => ({
      name: `${name}, in the decoder`,
      model: tinyT5With((part) => (part === 'decoder' ? config : { kind: 'softmax' })),
    })),
];

describe.each(variants)('$name', ({ model }) => {
  const weights = randomT5Weights(model);
  let engine: DecodingEngine;
  beforeAll(async () => {
    engine = await DecodingEngine.create(model, weights);
  });
  afterAll(() => engine.dispose());

  it('gives step by step what it gives over the whole, for hypotheses of texts of unequal length', async () => {
    const sources = [
      [3, 4, 5, 6, 7, 8, 9],
      [10, 11, 1],
    ];
    // Two hypotheses of each text, over several groups.
    const written = Array.from({ length: 4 }, (_, b) => generated(19, b));
    let states: SequenceState[] = [];
    for (const source of sources) {
      const state = engine.newState(await engine.encode(source));
      states.push(state, state.fork());
    }
    const logits: Float32Array[][] = [];
    const read = async (t: number, rows: readonly number[]): Promise<void> => {
      const tokens = rows.map((row) => written[row][t]);
      logits.push(await stepAll(engine, states, tokens));
    };
    for (let t = 0; t < 10; t++) await read(t, [0, 1, 2, 3]);
    // Both hypotheses of the first text go on from the second; the second text's change places.
    const order = [1, 1, 3, 2];
    states = order.map((from) => states[from].fork());
    for (let t = 10; t < 19; t++) await read(t, order);
    // Then the first text is forgotten.
    const last = await stepAll(engine, states.slice(2), [2, 3]);
    for (const [text, source] of sources.entries()) {
      const hypotheses = [2 * text, 2 * text + 1];
      const read = hypotheses.map((b) => [...written[order[b]], b % 2 === 0 ? 2 : 3]);
      const all = await wholeLogits(model, weights, source, read);
      for (const [i, b] of hypotheses.entries()) {
        for (let t = 0; t < 19; t++) {
          const got = logits[t][t < 10 ? order[b] : b];
          expect(relativeToPeak(got, all[i][t]), `${b} at ${t}`).toBeLessThan(1e-4);
        }
        if (b >= 2) expect(relativeToPeak(last[b - 2], all[i][19]), `${b} at the end`).toBeLessThan(1e-4);
      }
    }
  });

  it('reads a beginning in chunks, past the first rows of a growing cache, as over the whole', async () => {
    const grows = engine.layout.slotLayouts.some(({ ring }) => ring === undefined);
    const length = grows ? 270 : 41;
    const beginning = generated(length + 1, 1);
    const [whole] = await wholeLogits(model, weights, texts[0], [beginning]);
    const encoded = await engine.encode(texts[0]);
    for (const chunk of [5, 128]) {
      for (const read of [1, 3, 4, 5, 17, length]) {
        const state = engine.newState(encoded);
        const { logits } = await engine.prefill(state, beginning.slice(0, read), { chunk });
        expect(relativeToPeak(logits, whole[read - 1]), `${read} in chunks of ${chunk}`).toBeLessThan(1e-4);
        const next = await engine.advance(state, beginning[read]);
        expect(relativeToPeak(next.logits, whole[read]), `after ${read} in chunks of ${chunk}`).toBeLessThan(1e-4);
      }
    }
  });

  it('reads trees, and continues after a commit, as over the whole', async () => {
    const encoded = await engine.encode(texts[3]);
    const tree = new TokenTree(parents);
    const tokens = parents.map((_, node) => 2 + ((11 * node) % 18));
    const paths = parents.map((_, node) => tree.pathTo(node));
    // All paths after all beginnings as texts of one length: what follows a path does not disturb it.
    const places = [15, 16, 17, 19, 23];
    const longest = Math.max(...places) + tree.height + 2;
    const all = await wholeLogits(
      model,
      weights,
      texts[3],
      places.flatMap((committed) =>
        paths.map((path) => {
          const own = [...generated(committed), ...path.map((node) => tokens[node])];
          return [...own, ...generated(longest - own.length, 2)];
        }),
      ),
    );
    for (const [place, committed] of places.entries()) {
      const prefix = generated(committed);
      const whole = all.slice(place * tree.size, (place + 1) * tree.size);
      const state = engine.newState(encoded);
      await engine.prefill(state, prefix);
      const request = { state, tree, tokens, wanted: tokens.map((_, node) => node) };
      const [output] = await engine.step([request]);
      output.logits.forEach((logits, node) => {
        const expected = whole[node][committed + tree.depths[node]];
        expect(relativeToPeak(logits, expected), `node ${node} after ${committed}`).toBeLessThan(1e-4);
      });
      for (const leaf of [5, 7, 15]) {
        const accepted = { ...request, state: state.fork() };
        await engine.commit(accepted, output, paths[leaf]);
        const { logits } = await engine.advance(accepted.state, 0);
        const expected = whole[leaf][committed + paths[leaf].length];
        expect(relativeToPeak(logits, expected), `the path to ${leaf} after ${committed}`).toBeLessThan(1e-4);
      }
    }
  });
});

describe.each(goldenT5Names)('%s', (name) => {
  it('generates the reference tokens greedily, of all texts in common steps', async () => {
    const { model, weights, texts: sources, written } = goldenT5(name);
    await using engine = await DecodingEngine.create(model, weights);
    const states: SequenceState[] = [];
    for (const source of sources) states.push(engine.newState(await engine.encode(source)));
    let tokens = sources.map(() => model.startId);
    const found = tokens.map((token) => [token]);
    while (found[0].length < written[0].length) {
      const logits = await stepAll(engine, states, tokens);
      tokens = logits.map((row) => row.indexOf(Math.max(...row)));
      for (const [s, token] of tokens.entries()) found[s].push(token);
    }
    expect(found).toEqual(written);
  });

  it('generates the reference tokens one text at a time, and by one beam', async () => {
    const { model, weights, texts: sources, written } = goldenT5(name);
    await using engine = await DecodingEngine.create(model, weights);
    const expected = written.map(([_, ...tokens]) => tokens);
    const options = { maxTokens: expected[0].length, ignoreEos: true };
    for (const [i, source] of sources.entries()) {
      const state = engine.newState(await engine.encode(source));
      const { tokens } = await generateToEnd(engine, { promptTokens: [], state, ...options });
      expect(tokens).toEqual(expected[i]);
    }
    const prompts = sources.map(() => []);
    const oneBeam = await bestBeams(engine, prompts, 1, { ...options, sources });
    expect(oneBeam.map(([{ tokens }]) => tokens)).toEqual(expected);
  });
});

describe.each(['softmax', 'local+global', 'performer'])('%s', (name) => {
  it('generates of each of several texts what it generates of it alone, greedily and by beams', async () => {
    const model = tinyT5(name);
    await using engine = await DecodingEngine.create(model, randomT5Weights(model, 8));
    const maxTokens = 12;
    const rows: { tokens: number[]; ended: boolean; last: number; state: SequenceState }[] = [];
    for (const text of texts) {
      const state = engine.newState(await engine.encode(text));
      rows.push({ tokens: [], ended: false, last: model.startId, state });
    }
    for (let t = 0; t < maxTokens; t++) {
      const live = rows.filter(({ ended }) => !ended);
      if (live.length === 0) break;
      const logits = await stepAll(
        engine,
        live.map(({ state }) => state),
        live.map(({ last }) => last),
      );
      for (const [i, row] of live.entries()) {
        row.last = logits[i].indexOf(Math.max(...logits[i]));
        row.ended = model.eosIds.includes(row.last);
        if (!row.ended) row.tokens.push(row.last);
      }
    }
    const options = { maxTokens, best: 2 };
    const prompts = texts.map(() => []);
    const beams = await bestBeams(engine, prompts, 3, { ...options, sources: texts });
    for (const [i, text] of texts.entries()) {
      const state = engine.newState(await engine.encode(text));
      const greedy = await generateToEnd(engine, { promptTokens: [], state, maxTokens });
      expect([greedy.tokens, greedy.finish === 'eos']).toEqual([rows[i].tokens, rows[i].ended]);
      const [alone] = await bestBeams(engine, [[]], 3, { ...options, sources: [text] });
      expect(alone.map(({ tokens }) => tokens)).toEqual(beams[i].map(({ tokens }) => tokens));
    }
  });

  it('reads texts of any length, several asked for at the same time', async () => {
    const model = tinyT5(name);
    const weights = randomT5Weights(model, 2);
    await using engine = await DecodingEngine.create(model, weights);
    const random = new Random(6);
    // Four lengths that graphs are compiled for, of which three are kept.
    const sources = [1, 31, 32, 33, 64, 100, 129, 2].map((length) =>
      Array.from({ length }, () => 2 + random.integer(18)),
    );
    const together = await Promise.all(sources.map((source) => engine.encode(source)));
    for (const [i, source] of sources.entries()) {
      expect([...together[i].tokens]).toEqual(source);
      expect((await engine.encode(source)).layers).toEqual(together[i].layers);
      const [whole] = await wholeLogits(model, weights, source, [[0, 5]]);
      const state = engine.newState(together[i]);
      const [first] = await stepAll(engine, [state], [0]);
      expect(relativeToPeak(first, whole[0]), `${source.length} tokens`).toBeLessThan(1e-4);
      const [second] = await stepAll(engine, [state], [5]);
      expect(relativeToPeak(second, whole[1]), `${source.length} tokens`).toBeLessThan(1e-4);
    }
  });
});

describe('beams', () => {
  it('are worth what the model says of their tokens, and find the best there is where they are enough', async () => {
    const model = tinyT5('local+global');
    const { vocabulary: V } = model.sizes;
    await using engine = await DecodingEngine.create(model, randomT5Weights(model, 5));
    const logProbabilities = (row: Float32Array): number[] => {
      const largest = Math.max(...row);
      const total = largest + Math.log(row.reduce((sum, x) => sum + Math.exp(x - largest), 0));
      return Array.from(row, (x) => x - total);
    };
    for (const text of texts.slice(0, 2)) {
      // All pairs of tokens, V at a time.
      const root = engine.newState(await engine.encode(text));
      const first = logProbabilities((await engine.advance(root, model.startId)).logits);
      const all = Array.from({ length: V }, (_, token) => token);
      const second = await stepAll(
        engine,
        all.map(() => root.fork()),
        all,
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
      const options = { maxTokens: 2, best: 5, earlyStopping: 'never' } as const;
      const [found] = await bestBeams(engine, [[]], V, { ...options, sources: [text] });
      expect(found.map(({ tokens }) => tokens)).toEqual(pairs.slice(0, 5).map(({ tokens }) => tokens));
      for (const [i, { score }] of found.entries()) expect(score).toBeCloseTo(pairs[i].score, 4);
    }
  });
});

describe('a state', () => {
  it('does not grow where every mixer has a constant size, whatever the length of either text', async () => {
    const model = tinyT5('relu');
    await using engine = await DecodingEngine.create(model, randomT5Weights(model));
    const short = engine.newState(await engine.encode([2, 1]));
    const long = engine.newState(await engine.encode(Array.from({ length: 90 }, () => 2)));
    const bytes = ({ bytes: own, encoded }: SequenceState): number =>
      (encoded?.layers ?? [])
        .flatMap((tensors) => Object.values(tensors))
        .reduce((total, { data }) => total + data.byteLength, own);
    const first = bytes(long);
    expect(bytes(short)).toBe(first);
    for (let t = 0; t < 40; t++) await engine.advance(short, 3);
    expect(bytes(short)).toBe(first);
    expect(short.fork().encoded).toBe(short.encoded);
  });

  it('is refused where it does not belong', async () => {
    const model = tinyT5('softmax');
    await using engine = await DecodingEngine.create(model, randomT5Weights(model));
    const same = tinyT5('softmax');
    await using other = await DecodingEngine.create(same, randomT5Weights(same));
    const llama = tinyLlama([{ kind: 'softmax' }]);
    await using causal = await DecodingEngine.create(llama, randomParameters(llama, 1));
    const encoded = await engine.encode([2, 1]);
    const state = engine.newState(encoded);
    await expect(other.advance(state, 0)).rejects.toThrow(/another model/);
    const request = { state, tree: chain(1), tokens: [], wanted: [0] };
    await expect(engine.step([request])).rejects.toThrow(/a tree of 1 nodes needs as many tokens, got 0/);
    await expect(engine.advance(state, 20)).rejects.toThrow(/token 20 is outside/);
    await expect(engine.encode([])).rejects.toThrow(/at least one token/);
    await expect(engine.encode([2, 20])).rejects.toThrow(/token 20 is outside/);
    expect(() => engine.newState()).toThrow(/needs a text to read/);
    expect(() => causal.newState(encoded)).toThrow(/reads no encoded text/);
    expect(await errorCode(() => causal.encode([2, 1]))).toBe('INPUT');
    const beams = { maxTokens: 3 };
    await expect(bestBeams(engine, [[]], 2, beams)).rejects.toThrow(/needs a text to read/);
    await expect(bestBeams(engine, [[], []], 2, { ...beams, sources: [[2]] })).rejects.toThrow(/at least one token/);
    await expect(bestBeams(causal, [[1]], 2, { ...beams, sources: [[2]] })).rejects.toThrow(/has no encoder/);
    expect(await errorCode(() => generateToEnd(engine, { promptTokens: [], maxTokens: 3 }))).toBe('INPUT');
    // A text that was refused does not stand in the way of others.
    expect((await engine.encode([2, 1])).layers).toEqual(encoded.layers);
  });

  it('of a text longer than the mixers of the encoder serve is refused, up to that length it is read', async () => {
    for (const length of [128, 141]) {
      const linformer = linformerSchema.parse({ kind: 'linformer', rows: 3, length });
      const model = tinyT5With((part) => (part === 'encoder' ? linformer : { kind: 'softmax' }));
      await using engine = await DecodingEngine.create(model, randomT5Weights(model));
      const text = (tokens: number): number[] => Array.from({ length: tokens }, () => 2);
      expect((await engine.encode(text(length))).tokens).toHaveLength(length);
      expect(await errorCode(() => engine.encode(text(length + 1)))).toBe('INPUT');
      expect((await engine.encode(text(length - 3))).tokens).toHaveLength(length - 3);
    }
  });
});
