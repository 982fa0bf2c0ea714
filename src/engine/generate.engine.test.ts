import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import { mixerPreset } from '../attention/presets.ts';
import { chain } from '../attention/tree.ts';
import { describeCausalModel } from '../models/families/index.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import { type GenerateOptions, generate, generateToEnd } from '../../test/decoding/generated.ts';
import type { Generation, TextEvent } from './text-job.ts';
import type { DecodingMethod } from '../decoding/method.ts';
import type { StepRequest } from '../decoding/step-engine.ts';
import { Sampler } from '../decoding/sampler.ts';

const augmented = mixerPreset('augmented', { group: 8, kernel: 9 });
const model = tinyLlama([augmented, augmented]);
const prompt = randomTokens(model, 11, 1);

/** Token t is the letters of t in base 26, then a space: "ab ". Token 2 is the model's EOS. */
const letters: Tokenizer = {
  vocabularySize: 50,
  bosId: 1,
  eosId: 2,
  specialIds: new Set([1, 2]),
  encode: () => new Int32Array(0),
  decode: (ids) =>
    [...ids]
      .filter((id) => id > 2)
      .map((id) => `${spell(id)} `)
      .join(''),
};

function spell(id: number): string {
  return String.fromCharCode(97 + Math.floor(id / 26), 97 + (id % 26));
}

let engine: DecodingEngine;
beforeAll(async () => {
  engine = await DecodingEngine.create(model, randomParameters(model, 2), { threads: 1 });
});
afterAll(() => engine.dispose());

/** The first tokens of the greedy continuation, by the engine alone. */
async function greedyTokens(from: ArrayLike<number>, count: number): Promise<number[]> {
  const state = engine.newState();
  let { logits } = await engine.prefill(state, from);
  const tokens: number[] = [];
  for (;;) {
    const token = logits.indexOf(Math.max(...logits));
    tokens.push(token);
    if (tokens.length === count) return tokens;
    ({ logits } = await engine.advance(state, token));
  }
}

async function collect(options: GenerateOptions): Promise<{ events: TextEvent[]; generation: Generation }> {
  const events: TextEvent[] = [];
  for await (const event of generate(engine, options)) events.push(event);
  const last = events.at(-1);
  if (last?.type !== 'end') throw new Error('no end');
  return { events, generation: last.generation };
}

function joined(events: readonly TextEvent[]): { tokens: number[]; text: string } {
  const steps = events.filter((event) => event.type === 'tokens');
  return { tokens: steps.flatMap(({ tokens }) => [...tokens]), text: steps.map(({ text }) => text).join('') };
}

describe('generate', () => {
  it('gives the greedy continuation, in events and as a whole', async () => {
    const { events, generation } = await collect({
      promptTokens: prompt,
      maxTokens: 30,
      ignoreEos: true,
      tokenizer: letters,
    });
    const expected = await greedyTokens(prompt, 30);
    expect(generation.tokens).toEqual(expected);
    expect(generation.text).toBe(letters.decode(expected));
    expect(joined(events)).toEqual({ tokens: expected, text: generation.text });
    expect(events[0]).toMatchObject({ type: 'prompt', done: 11, total: 11 });
    expect(generation).toMatchObject({ finish: 'length', steps: 30, promptTokens: 11 });
    expect(generation.state.length).toBe(11 + 29);
    expect(generation.prefillSeconds).toBeGreaterThan(0);
    expect(generation.tokensPerSecond).toBeCloseTo(29 / generation.decodeSeconds, 6);
  });

  it('starts an empty prompt at BOS, or says that there is none', async () => {
    const generation = await generateToEnd(engine, { promptTokens: [], maxTokens: 5, ignoreEos: true });
    expect(generation.tokens).toEqual(await greedyTokens([1], 5));
    expect(generation.promptTokens).toBe(1);
    expect(generation.text).toBe('');

    const { bos_token_id: _, ...withoutBos } = model.toJson();
    const other = describeCausalModel(withoutBos);
    await using program = await DecodingEngine.create(other, randomParameters(other, 2), { threads: 1 });
    expect(await errorCode(() => generateToEnd(program, { promptTokens: [], maxTokens: 5 }))).toBe('INPUT');
  });

  it('ends at stop tokens and at EOS, which are not part of the text', async () => {
    const expected = await greedyTokens(prompt, 30);
    const place = expected.findIndex((token, index) => index >= 4 && expected.indexOf(token) === index);
    expect(place).toBeGreaterThan(0);
    const stop = { tokenIds: [expected[place]] };
    const stopped = await collect({ promptTokens: prompt, maxTokens: 30, ignoreEos: true, stop, tokenizer: letters });
    expect(stopped.generation).toMatchObject({ finish: 'stop', tokens: expected.slice(0, place), steps: place + 1 });
    expect(stopped.generation.text).toBe(letters.decode(expected.slice(0, place)));
    expect(joined(stopped.events).tokens).toEqual(expected.slice(0, place));

    const ending = describeCausalModel({ ...model.toJson(), eos_token_id: [expected[place], 49] });
    await using other = await DecodingEngine.create(ending, randomParameters(ending, 2), { threads: 1 });
    const ended = await generateToEnd(other, { promptTokens: prompt, maxTokens: 30, stop });
    expect(ended).toMatchObject({ finish: 'eos', tokens: expected.slice(0, place) });
  });

  it('ends before stop strings, wherever they begin', async () => {
    const expected = await greedyTokens(prompt, 30);
    const whole = letters.decode(expected);
    for (const start of [0, 1, 4, 17, 40]) {
      const string = whole.slice(start, start + 5);
      const { events, generation } = await collect({
        promptTokens: prompt,
        maxTokens: 30,
        ignoreEos: true,
        stop: { strings: ['nowhere', string] },
        tokenizer: letters,
      });
      expect(generation.finish).toBe('stop');
      expect(generation.text).toBe(whole.slice(0, whole.indexOf(string)));
      expect(joined(events)).toEqual({ tokens: [...generation.tokens], text: generation.text });
      expect(letters.decode(generation.tokens)).toContain(string);
      expect(letters.decode(generation.tokens.slice(0, -1))).not.toContain(string);
    }
  });

  it('gives out held text when the tokens end', async () => {
    const expected = await greedyTokens(prompt, 7);
    const whole = letters.decode(expected);
    const { events, generation } = await collect({
      promptTokens: prompt,
      maxTokens: 7,
      ignoreEos: true,
      stop: { strings: [`${whole.slice(-4)}no more`] },
      tokenizer: letters,
    });
    expect(generation).toMatchObject({ finish: 'length', text: whole });
    expect(joined(events).text).toBe(whole);
  });

  it('samples with a seed, penalties seeing prompt and continuation', async () => {
    const config = { temperature: 1, topP: 0.95, repetitionPenalty: 1.5, seed: 7 };
    const options = { promptTokens: prompt, maxTokens: 25, ignoreEos: true };
    const first = await generateToEnd(engine, { ...options, sampler: new Sampler(config) });
    const again = await generateToEnd(engine, { ...options, sampler: new Sampler(config) });
    const other = await generateToEnd(engine, { ...options, sampler: new Sampler({ ...config, seed: 8 }) });
    expect(again.tokens).toEqual(first.tokens);
    expect(other.tokens).not.toEqual(first.tokens);

    const sampler = new Sampler(config);
    const state = engine.newState();
    let { logits } = await engine.prefill(state, prompt);
    const text = [...prompt];
    for (let i = 0; i < 25; i++) {
      const token = sampler.next(logits, text);
      text.push(token);
      ({ logits } = await engine.advance(state, token));
    }
    expect(text.slice(11)).toEqual(first.tokens);
  });

  it('stops within a step of a signal that comes from outside', async () => {
    const controller = new AbortController();
    setTimeout(() => {
      controller.abort();
    }, 20);
    const options = { promptTokens: prompt, maxTokens: 1e9, ignoreEos: true, tokenizer: letters };
    let after = 0;
    let last: TextEvent | undefined;
    for await (const event of generate(engine, { ...options, signal: controller.signal })) {
      if (controller.signal.aborted && event.type === 'tokens') after += event.tokens.length;
      last = event;
    }
    expect(after).toBeLessThanOrEqual(1);
    if (last?.type !== 'end') throw new Error('no end');
    const { finish, tokens, text, state } = last.generation;
    expect(finish).toBe('abort');
    expect(tokens.length).toBeGreaterThan(0);
    expect(text).toBe(letters.decode(tokens));
    expect(state.length).toBe(11 + tokens.length - 1);
  });

  it('stops while reading a prompt', async () => {
    const controller = new AbortController();
    const long = randomTokens(model, 1000, 3);
    const done: number[] = [];
    for await (const event of generate(engine, { promptTokens: long, maxTokens: 5, signal: controller.signal })) {
      if (event.type === 'end') expect(event.generation).toMatchObject({ finish: 'abort', tokens: [], steps: 0 });
      if (event.type !== 'prompt') continue;
      done.push(event.done);
      if (event.done === 256) controller.abort();
    }
    expect(done).toEqual([32, 64, 96, 128, 160, 192, 224, 256]);
  });

  it('continues from the state of an earlier text', async () => {
    const options = { ignoreEos: true, tokenizer: letters };
    const first = await generateToEnd(engine, { ...options, promptTokens: prompt, maxTokens: 12 });
    const text = [...prompt, ...first.tokens];
    const state = first.state.fork();
    const second = await generateToEnd(engine, { ...options, promptTokens: text, maxTokens: 13, state });
    const fresh = await generateToEnd(engine, { ...options, promptTokens: text, maxTokens: 13 });
    expect([...first.tokens, ...second.tokens]).toEqual(await greedyTokens(prompt, 25));
    expect(second).toMatchObject({ tokens: fresh.tokens, text: fresh.text, promptTokens: 23 });
  });

  it('takes several tokens a step, and cuts them at what ends the text', async () => {
    const expected = await greedyTokens(prompt, 30);
    // Drafts by knowing the answer; verified in one pass like any draft.
    const oracle: DecodingMethod = ({ state }) => {
      let tokens: number[] = [];
      let request: StepRequest | undefined;
      return {
        plan(text, { count, ends }) {
          const produced = text.length - prompt.length;
          const wanted = expected.slice(produced, produced + Math.min(4, count));
          const end = wanted.findIndex((token) => ends.has(token));
          tokens = end < 0 ? wanted : wanted.slice(0, end + 1);
          const read = text.slice(state.length);
          const nodes = [...read, ...tokens.slice(0, -1)];
          request = nodes.length === 0 ? undefined : { state, tree: chain(nodes.length), tokens: nodes, wanted: [] };
          return Promise.resolve(request === undefined ? [] : [request]);
        },
        async conclude(_, [output]) {
          if (request !== undefined) await engine.commit(request, output, [...Array(request.tokens.length).keys()]);
          return tokens;
        },
        settle: () => Promise.resolve([]),
      };
    };
    const options = { promptTokens: prompt, method: oracle, ignoreEos: true, tokenizer: letters };
    const whole = await generateToEnd(engine, { ...options, maxTokens: 30 });
    expect(whole).toMatchObject({ tokens: expected, steps: 8, finish: 'length' });
    expect(whole.state.length).toBe(11 + 29);
    const place = expected.findIndex((token, index) => index >= 5 && expected.indexOf(token) === index);
    const cut = await generateToEnd(engine, { ...options, maxTokens: 30, stop: { tokenIds: [expected[place]] } });
    expect(cut).toMatchObject({ tokens: expected.slice(0, place), finish: 'stop' });
    const string = letters.decode(expected.slice(5, 6));
    const inside = await generateToEnd(engine, { ...options, maxTokens: 30, stop: { strings: [string] } });
    expect(inside.text).toBe(letters.decode(expected).split(string)[0]);
  });

  it('leaves a state without S between folds', async () => {
    const delta = tinyLlama([mixerPreset('delta')]);
    await using other = await DecodingEngine.create(delta, randomParameters(delta, 2), { threads: 1 });
    const { state } = await generateToEnd(other, { promptTokens: prompt, maxTokens: 11, ignoreEos: true });
    expect([state.length % 8, state.ahead]).toEqual([5, 0]);
  });

  it('refuses what it cannot continue', async () => {
    const state = engine.newState();
    await engine.prefill(state, prompt);
    const bad: GenerateOptions[] = [
      { promptTokens: prompt, maxTokens: 1.5 },
      { promptTokens: prompt, maxTokens: Number.NaN },
      { promptTokens: [50], maxTokens: 5 },
      { promptTokens: prompt, maxTokens: 5, stop: { strings: ['x'] } },
      { promptTokens: prompt, maxTokens: 5, stop: { strings: [''] }, tokenizer: letters },
      { promptTokens: prompt, maxTokens: 5, state },
    ];
    for (const options of bad) expect(await errorCode(() => generateToEnd(engine, options))).toBe('INPUT');
  });
});
