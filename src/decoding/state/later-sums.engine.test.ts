import { expect, it } from 'vitest';
import { randomParameters, tinyLlama } from '../../../test/models/tiny-llama.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { chain } from '../../attention/tree.ts';
import { DecodingEngine } from '../engine.ts';

/** Positions of a group of the delta rule. */
const group = 8;

it.each([1, 2])('one step’s nodes are taken by two states, which free only their own S: %i texts', async (texts) => {
  const model = tinyLlama([mixerPreset('delta')]);
  await using engine = await DecodingEngine.create(model, randomParameters(model, 3), { threads: 1 });
  const requests = await Promise.all(
    Array.from({ length: texts }, async (_, text) => {
      const state = engine.newState();
      await engine.prefill(
        state,
        Array.from({ length: group - 1 }, (_, i) => i + text),
      );
      return { state, tree: chain(1), tokens: [9], wanted: [0] };
    }),
  );
  const forks = requests.map(({ state }) => state.fork());
  const outputs = await engine.step(requests);
  expect(outputs.every(({ rows }) => rows.later !== undefined)).toBe(true);
  for (const [i, request] of requests.entries()) await engine.commit(request, outputs[i], [0]);
  // Steps of others free what several texts shared.
  for (let token = 0; token < 2 * group; token++) for (const { state } of requests) await engine.advance(state, token);
  for (const [i, request] of requests.entries()) await engine.commit({ ...request, state: forks[i] }, outputs[i], [0]);
  for (let token = 0; token < 2 * group; token++) for (const state of forks) await engine.advance(state, token);
  for (const [i, { state }] of requests.entries()) {
    const next = [state, forks[i]].map((each) => engine.advance(each, 1));
    const [logits, ofFork] = await Promise.all(next);
    expect(ofFork.logits).toEqual(logits.logits);
  }
});

it('two states that take one step’s nodes in turn stay apart', async () => {
  const model = tinyLlama([mixerPreset('delta')]);
  await using engine = await DecodingEngine.create(model, randomParameters(model, 3), { threads: 1 });
  const state = engine.newState();
  await engine.prefill(state, [1, 2, 3, 4, 5, 6, 7]);
  const fork = state.fork();
  const request = { state, tree: chain(1), tokens: [9], wanted: [0] };
  const [output] = await engine.step([request]);
  await engine.commit(request, output, [0]);
  await engine.commit({ ...request, state: fork }, output, [0]);
  for (let token = 0; token < group; token++) await engine.advance(state, token);
  for (let token = 0; token < group; token++) await engine.advance(fork, token);
  expect((await engine.advance(fork, 1)).logits).toEqual((await engine.advance(state, 1)).logits);
});

it('texts of several lengths, and each alone, read on from S between folds, with the bits of S folded alone', async () => {
  const model = tinyLlama([mixerPreset('delta')]);
  await using engine = await DecodingEngine.create(model, randomParameters(model, 3), { threads: 1 });
  const lengths = [1, 3, 4, 6, 13];
  const [together, alone] = await Promise.all(
    [0, 1].map(() =>
      Promise.all(
        lengths.map(async (length) => {
          const state = engine.newState();
          await engine.prefill(
            state,
            Array.from({ length }, (_, i) => i + length),
          );
          return state;
        }),
      ),
    ),
  );
  const read = new Set<number>();
  for (let token = 0; token < 2 * group + 3; token++) {
    const requests = together.map((state) => ({ state, tree: chain(1), tokens: [token], wanted: [0] }));
    const outputs = await engine.step(requests);
    for (const [i, request] of requests.entries()) await engine.commit(request, outputs[i], [0]);
    for (const [i, state] of alone.entries()) {
      const folded = state.fork();
      const { logits } = await engine.advance(folded, token);
      expect(logits, `${token} ${i}`).toEqual(outputs[i].logits[0]);
      expect((await engine.advance(state, token)).logits, `${token} ${i}`).toEqual(logits);
    }
    for (const { ahead, length } of together) if (ahead > 0) read.add(length - ahead);
    expect(alone.map(({ ahead }) => ahead)).toEqual(together.map(({ ahead }) => ahead));
  }
  expect([...read].sort()).toEqual([0, 1, 2, 3]);
  // Forks and saved states have the folded S alone, and go on with the same bits.
  for (const [i, state] of together.entries()) {
    expect(state.layerSums).toEqual(alone[i].layerSums);
    const [next, ofFork] = await Promise.all([state, state.fork()].map((each) => engine.advance(each, 1)));
    expect(ofFork.logits).toEqual(next.logits);
  }
});
