/** Which rows a chunk of a text returns, where states keep few. */
import { expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import { mixerPreset } from '../attention/presets.ts';
import { chain } from '../attention/tree.ts';
import { DecodingEngine } from './engine.ts';

async function deltaEngine() {
  const model = tinyLlama([mixerPreset('delta'), mixerPreset('delta')]);
  const engine = await DecodingEngine.create(model, randomParameters(model, 3), { threads: 1 });
  const text = (count: number, isText: boolean) => {
    const tokens = Array.from(randomTokens(model, count, 1));
    return { state: engine.newState(), tree: chain(count), tokens, wanted: [count - 1], isText };
  };
  return { engine, text };
}

it.each([24, 27])('a chunk of %i tokens leaves the state that its nodes leave', async (count) => {
  const { engine, text } = await deltaEngine();
  const fetched: string[][] = [];
  const run = engine.program.run.bind(engine.program);
  engine.program.run = (feeds, fetch, kept) => {
    fetched.push(fetch.filter((name) => name.endsWith('rows')));
    return run(feeds, fetch, kept);
  };
  const requests = [text(count, true), text(count, false)];
  const outputs = [];
  for (const request of requests) {
    const [output] = await engine.step([request]);
    await engine.commit(request, output, [...request.tokens.keys()]);
    outputs.push(output);
  }
  // Replayed rows fold in groups of 8.
  expect(fetched).toEqual([[count % 8 === 0 ? 'final.rows' : 'rows'], ['rows']]);
  const [state, other] = requests.map((request) => request.state);
  expect([state.layers, state.layerSums]).toEqual([other.layers, other.layerSums]);
  expect(outputs[0].logits).toEqual(outputs[1].logits);
  await engine.dispose();
});

it('refuses a part of a text', async () => {
  const { engine, text } = await deltaEngine();
  const request = text(24, true);
  const [output] = await engine.step([request]);
  expect(await errorCode(() => engine.commit(request, output, [0, 1]))).toBe('INPUT');
  await engine.dispose();
});
