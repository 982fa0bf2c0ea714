/** Texts that T5 generates: as a stream, up to what ends them, saved and reopened, drafted and verified. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { letters } from '../../test/models/letters.ts';
import { randomT5Weights, t5MixerNames, tinyT5 } from '../../test/models/tiny-t5.ts';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { t5Model } from '../models/families/t5/model.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import { type GenerateOptions, generate, generateToEnd } from '../../test/decoding/generated.ts';
import type { Generation, TextEvent } from './text-job.ts';
import { Sampler, type SamplerInput } from '../decoding/sampler.ts';
import type { Drafter } from '../decoding/speculation/drafters/drafter.ts';
import { lookupDrafter } from '../decoding/speculation/drafters/registry.ts';
import { ReferenceDrafter } from '../decoding/speculation/drafters/reference-drafter.ts';
import { SpeculationStatistics, speculative } from '../decoding/speculation/speculative.ts';
import { restoreSession, saveSession } from '../decoding/state/session-file.ts';

const source = [3, 4, 5, 6, 7, 8, 1];
const fingerprint = 'f'.repeat(64);
const folder = suiteFolder();

/** Options for a text about `source`, which is encoded for every text. */
async function about(engine: DecodingEngine, options: Partial<GenerateOptions> = {}): Promise<GenerateOptions> {
  const state = engine.newState(await engine.encode(source));
  return { promptTokens: [], maxTokens: 30, ignoreEos: true, state, ...options };
}

async function collect(
  engine: DecodingEngine,
  options: GenerateOptions,
): Promise<{ events: TextEvent[]; generation: Generation }> {
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

/** The first tokens of the greedy text, by the engine alone. */
async function greedyTokens(engine: DecodingEngine, count: number): Promise<number[]> {
  const state = engine.newState(await engine.encode(source));
  const tokens = [0];
  while (tokens.length <= count) {
    const { logits } = await engine.advance(state, tokens[tokens.length - 1]);
    tokens.push(logits.indexOf(Math.max(...logits)));
  }
  return tokens.slice(1);
}

const samplers: Readonly<Record<string, SamplerInput>> = {
  greedy: {},
  sampled: { temperature: 1.2, topP: 0.95, seed: 5 },
};

/** A chain that is longer than groups, with a second branch. */
const longPaths = [...Array.from({ length: 14 }, (_, i) => new Array<number>(i + 1).fill(0)), [1], [1, 0], [1, 1]];

describe.each(t5MixerNames)('%s', (name) => {
  const model = tinyT5(name);
  const weights = randomT5Weights(model, 5);
  let engine: DecodingEngine;
  beforeAll(async () => {
    engine = await DecodingEngine.create(model, weights, { threads: 1 });
  });
  afterAll(() => engine.dispose());

  it('streams the greedy tokens', async () => {
    const expected = await greedyTokens(engine, 30);
    const { events, generation } = await collect(engine, await about(engine, { tokenizer: letters }));
    expect(generation.tokens).toEqual(expected);
    expect(generation.text).toBe(letters.decode(expected));
    expect(joined(events)).toEqual({ tokens: expected, text: generation.text });
    expect(events[0]).toMatchObject({ type: 'prompt', done: 1, total: 1 });
    expect(events.filter(({ type }) => type === 'tokens')).toHaveLength(30);
    expect(generation).toMatchObject({ finish: 'length', steps: 30, promptTokens: 1 });
    expect(generation.state.length).toBe(30);
  });

  it.each(Object.entries(samplers))('%s text equals that of sequential decoding with drafts', async (_, config) => {
    const sampled = (): Promise<GenerateOptions> => about(engine, { maxTokens: 140, sampler: new Sampler(config) });
    const expected = await generateToEnd(engine, await sampled());
    const truth = [model.startId, ...expected.tokens];
    const V = model.sizes.vocabulary;
    const drafters: Drafter[] = [
      lookupDrafter(),
      new ReferenceDrafter(truth, V, { seed: 2 }),
      new ReferenceDrafter(truth, V, { seed: 3, hitRate: 1, paths: longPaths }),
    ];
    for (const drafter of drafters) {
      const statistics = new SpeculationStatistics();
      const method = speculative(drafter, { statistics });
      const result = await generateToEnd(engine, { ...(await sampled()), method });
      expect(result.tokens, drafter.name).toEqual(expected.tokens);
      expect(result.state.length, drafter.name).toBe(expected.state.length);
      const { tokensPerStep } = statistics.summary;
      expect(tokensPerStep, drafter.name).toBeGreaterThan(drafter.name === 'reference' ? 2 : 1);
    }
  });

  it('continues a saved text as if it had not been interrupted, without the encoder', async () => {
    const path = join(folder, 'session.safetensors');
    const config = { temperature: 1, repetitionPenalty: 1.2, seed: 5 };
    const unbroken = await generateToEnd(engine, await about(engine, { maxTokens: 40, sampler: new Sampler(config) }));

    const sampler = new Sampler(config);
    const first = await generateToEnd(engine, await about(engine, { maxTokens: 17, sampler }));
    const text = [model.startId, ...first.tokens];
    await saveSession(path, { state: first.state, tokens: text, random: sampler.random.state, fingerprint });

    await using other = await DecodingEngine.create(tinyT5(name), weights, { threads: 1 });
    const restored = await restoreSession(path, other, fingerprint);
    expect([...restored.tokens]).toEqual(text);
    expect(restored.state.encoded).toEqual(first.state.encoded);
    expect([...(restored.state.encoded?.tokens ?? [])]).toEqual(source);
    const second = await generateToEnd(other, {
      promptTokens: restored.tokens,
      state: restored.state,
      maxTokens: 23,
      ignoreEos: true,
      sampler: new Sampler(config, restored.random),
    });
    expect([...first.tokens, ...second.tokens]).toEqual(unbroken.tokens);
  });
});

describe.each(['softmax', 'local+global', 'linformer'])('a text of %s', (name) => {
  const model = tinyT5(name);
  const weights = randomT5Weights(model, 15);
  let engine: DecodingEngine;
  beforeAll(async () => {
    engine = await DecodingEngine.create(model, weights, { threads: 1 });
  });
  afterAll(() => engine.dispose());

  it('ends at stop tokens and at EOS, which are not part of it', async () => {
    const expected = await greedyTokens(engine, 30);
    expect(new Set(expected).size).toBeGreaterThan(3);
    for (const end of new Set(expected)) {
      const place = expected.indexOf(end);
      const options = { stop: { tokenIds: [end] }, tokenizer: letters };
      const { events, generation } = await collect(engine, await about(engine, options));
      expect(generation).toMatchObject({ finish: 'stop', tokens: expected.slice(0, place), steps: place + 1 });
      expect(joined(events)).toEqual({ tokens: expected.slice(0, place), text: generation.text });
      const method = speculative(lookupDrafter());
      const drafted = await generateToEnd(engine, await about(engine, { ...options, method }));
      expect(drafted).toMatchObject({ finish: 'stop', tokens: generation.tokens, text: generation.text });

      const ending = t5Model({ ...model.toJson(), eos_token_id: end });
      await using other = await DecodingEngine.create(ending, weights, { threads: 1 });
      const ended = await generateToEnd(other, await about(other, { ignoreEos: false }));
      expect(ended).toMatchObject({ finish: 'eos', tokens: expected.slice(0, place) });
    }
  });

  it('ends before stop strings, drafted or not', async () => {
    const whole = letters.decode(await greedyTokens(engine, 30));
    for (const start of [0, 1, 4, 9]) {
      const string = whole.slice(start, start + 3);
      const options = { stop: { strings: ['nowhere', string] }, tokenizer: letters };
      const { events, generation } = await collect(engine, await about(engine, options));
      expect(generation.finish).toBe('stop');
      expect(generation.text).toBe(whole.slice(0, whole.indexOf(string)));
      expect(joined(events)).toEqual({ tokens: [...generation.tokens], text: generation.text });
      const method = speculative(lookupDrafter());
      const drafted = await generateToEnd(engine, await about(engine, { ...options, method }));
      expect(drafted).toMatchObject({ finish: 'stop', tokens: generation.tokens, text: generation.text });
      expect(drafted.state.length).toBe(generation.state.length);
    }
  });

  it('stops when asked to, and goes on from its state', async () => {
    const expected = await greedyTokens(engine, 30);
    const controller = new AbortController();
    let first: Generation | undefined;
    for await (const event of generate(engine, await about(engine, { signal: controller.signal }))) {
      if (event.type === 'end') first = event.generation;
      if (event.type === 'tokens') controller.abort();
    }
    if (first === undefined) throw new Error('no end');
    expect(first).toMatchObject({ finish: 'abort', tokens: expected.slice(0, 1) });
    const { state, tokens } = first;
    const promptTokens = [model.startId, ...tokens];
    const rest = await generateToEnd(engine, { promptTokens, state, maxTokens: 29, ignoreEos: true });
    expect([...tokens, ...rest.tokens]).toEqual(expected);
  });

  it('goes on from what is given of it', async () => {
    const expected = await greedyTokens(engine, 30);
    const promptTokens = [model.startId, ...expected.slice(0, 11)];
    const rest = await generateToEnd(engine, await about(engine, { promptTokens, maxTokens: 19 }));
    expect(rest).toMatchObject({ tokens: expected.slice(11), promptTokens: 12 });
  });

  it('needs something to read', async () => {
    expect(await errorCode(() => generateToEnd(engine, { promptTokens: [], maxTokens: 5 }))).toBe('INPUT');
  });
});
