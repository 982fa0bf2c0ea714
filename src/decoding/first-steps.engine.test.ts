import { expect, it } from 'vitest';
import { randomParameters, tinyLlama } from '../../test/models/tiny-llama.ts';
import { DecodingEngine } from './engine.ts';

it('compares a single row with rows among others in the first steps of a model, of a small one in a few dozen', async () => {
  const model = tinyLlama([{ kind: 'softmax' }, { kind: 'softmax' }]);
  await using engine = await DecodingEngine.create(model, randomParameters(model, 3), { threads: 1 });
  const { program } = engine;
  const run = program.run.bind(program);
  let runs = 0;
  program.run = (...given) => {
    runs++;
    return run(...given);
  };
  const state = engine.newState();
  for (let token = 0; token < 40; token++) await engine.advance(state, token);
  const first = runs;
  for (let token = 0; token < 20; token++) await engine.advance(state, token);
  expect([first > 42, first < 80, runs - first]).toEqual([true, true, 20]);
});
