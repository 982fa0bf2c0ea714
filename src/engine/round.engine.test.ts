/** Many texts in common steps: each gets what it would have got alone. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { letters } from '../../test/models/letters.ts';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import { mixerPreset } from '../attention/presets.ts';
import { LinnetError } from '../errors.ts';
import { Random } from '../random.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import { type GenerateOptions, generateToEnd } from '../../test/decoding/generated.ts';
import { type Continuation, type DecodingMethod, sequential } from '../decoding/method.ts';
import { Sampler, type SamplerInput } from '../decoding/sampler.ts';
import { beamMethod } from './search/beam-search.ts';
import { bestBeams } from '../../test/decoding/beams.ts';
import { rejection } from '../decoding/speculation/acceptance.ts';
import { CombinedDrafter } from '../decoding/speculation/drafters/combined-drafter.ts';
import { type HeadPredictions, MedusaDrafter } from '../decoding/speculation/drafters/medusa-drafter.ts';
import { ModelDrafter } from '../decoding/speculation/drafters/model-drafter.ts';
import { drafterMakers, LearnedTexts, lookupDrafter } from '../decoding/speculation/drafters/registry.ts';
import { ReferenceDrafter } from '../decoding/speculation/drafters/reference-drafter.ts';
import { speculative } from '../decoding/speculation/speculative.ts';
import { Runner } from './runner.ts';
import type { Generation, TextEvent, TextJob } from './text-job.ts';

const model = tinyLlama([mixerPreset('augmented', { group: 6, kernel: 9 }), { kind: 'softmax' }]);
const V = model.sizes.vocabulary;
let engine: DecodingEngine;
let drafting: DecodingEngine;
beforeAll(async () => {
  engine = await DecodingEngine.create(model, randomParameters(model, 3), { threads: 1 });
  const smaller = tinyLlama([mixerPreset('local', { group: 6 })]);
  drafting = await DecodingEngine.create(smaller, randomParameters(smaller, 4), { threads: 1 });
});
afterAll(async () => {
  await engine.dispose();
  await drafting.dispose();
});

/** Heads that know nothing. */
function randomHeads(seed: number): HeadPredictions {
  const random = new Random(seed);
  const all = Array.from({ length: V }, (_, token) => token);
  return {
    count: 4,
    topK: (_, k) =>
      Promise.resolve(Array.from({ length: 4 }, () => Int32Array.from(random.shuffle([...all]).slice(0, k)))),
  };
}

function promptFor(index: number): number[] {
  return [...randomTokens(model, 1 + 5 * index, index)];
}

/** One text of each kind of method; methods and samplers have a state, so that they are made for each use. */
const methods: Readonly<Record<string, (truth: readonly number[]) => DecodingMethod>> = {
  plain: () => sequential,
  lookup: () => speculative(lookupDrafter()),
  medusa: () => speculative(new MedusaDrafter(randomHeads(1))),
  'draft model': () => speculative(new ModelDrafter(drafting, V, { depth: 3, width: 2 })),
  'recursive rejection': (truth) => speculative(new ReferenceDrafter(truth, V, { seed: 2 }), { acceptance: rejection }),
  combined: (truth) =>
    speculative(new CombinedDrafter([lookupDrafter(), new ReferenceDrafter(truth, V, { seed: 4 })], { maxNodes: 40 })),
  beams: () => beamMethod(3, { lengthPenalty: 0.7 }),
  'plain again': () => sequential,
  suffix: () => speculative(drafterMakers.suffix(new LearnedTexts())),
  recycle: () => speculative(drafterMakers.recycle(new LearnedTexts())),
  auto: () => speculative(drafterMakers.auto(new LearnedTexts())),
};

/** Of some tokens everything that can end or steer a text. */
function optionsFor(index: number, config: SamplerInput): GenerateOptions {
  const even = (text: ArrayLike<number>): Uint8Array =>
    Uint8Array.from({ length: V }, (_, token) => ((token + text.length) % 2 === 0 ? 1 : 0));
  return {
    promptTokens: promptFor(index),
    maxTokens: 24 + 7 * index,
    ignoreEos: index % 2 === 0,
    tokenizer: letters,
    sampler: new Sampler({ ...config, seed: index }, undefined, index === 1 || index === 5 ? { constraint: even } : {}),
  };
}

/** The same for a runner. */
function jobFor({ promptTokens, sampler, ...options }: GenerateOptions, method: DecodingMethod): TextJob {
  const { maxTokens, ignoreEos, stop, signal } = options;
  return {
    prompt: { tokens: Array.from(promptTokens) },
    maxTokens,
    ignoreEos,
    stop,
    signal,
    sampling: sampler,
    method,
  };
}

async function ending(events: AsyncIterable<TextEvent>): Promise<Generation> {
  for await (const event of events) if (event.type === 'end') return event.generation;
  throw new Error('a text without an end');
}

/** What a text came to, without the times, and what its state would say next. */
async function outcome(result: Generation): Promise<{ facts: unknown; next: Float32Array }> {
  const { tokens, text, finish, steps, promptTokens, state } = result;
  const { logits } = await engine.advance(state.fork(), 7);
  return { facts: { tokens, text, finish, steps, promptTokens, read: state.length }, next: logits.slice() };
}

const samplers: Readonly<Record<string, SamplerInput>> = {
  greedy: {},
  'greedy with penalties': { repetitionPenalty: 1.2, presencePenalty: 0.3, frequencyPenalty: 0.2 },
  sampled: { temperature: 0.8, topP: 0.9 },
};

describe('texts of different methods in one step a round', () => {
  it.each(Object.entries(samplers))('%s: each text is that of a lone run', async (_, config) => {
    const names = Object.keys(methods);
    const plain: number[][] = [];
    const lone: Awaited<ReturnType<typeof outcome>>[] = [];
    for (const [index, name] of names.entries()) {
      const { tokens } = await generateToEnd(engine, optionsFor(index, config));
      plain.push([...promptFor(index), ...tokens]);
      const method = methods[name](plain[index]);
      const alone = await generateToEnd(engine, { ...optionsFor(index, config), method });
      if (name !== 'beams' && name !== 'recursive rejection') expect(alone.tokens, name).toEqual(tokens);
      lone.push(await outcome(alone));
    }

    const step = vi.spyOn(engine, 'step');
    let rounds = 0;
    const runner = new Runner(engine, {
      tokenizer: letters,
      chunk: 512,
      parallel: names.length,
      observer: { round: () => rounds++ },
    });
    const texts = await Promise.all(
      names.map((name, index) => ending(runner.submit(jobFor(optionsFor(index, config), methods[name](plain[index]))))),
    );
    const calls = step.mock.calls.filter(([, weights]) => weights === undefined);
    step.mockRestore();
    expect(calls).toHaveLength(rounds);
    // The first tokens need no step, but for the beams' second.
    expect(calls[0][0].length).toBeLessThanOrEqual(3);
    expect(calls[1][0].length).toBeGreaterThanOrEqual(8);
    expect(new Set(calls[1][0].map(({ tree }) => tree.size)).size).toBeGreaterThan(3);

    for (const [index, text] of texts.entries()) {
      const { facts, next } = await outcome(text);
      expect(facts, names[index]).toEqual(lone[index].facts);
      const error = Math.max(...next.map((logit, token) => Math.abs(logit - lone[index].next[token])));
      expect(error, names[index]).toBeLessThan(1e-4);
    }
  });
});

describe('a round', () => {
  it('leaves a fault with the text it belongs to, and the others go on', async () => {
    const failing: DecodingMethod = (prompt) => ({
      ...sequential(prompt),
      plan: () => Promise.reject(new LinnetError('INPUT', 'no plan')),
    });
    // A token that no vocabulary has: the common step is refused, whoever asked for it.
    const outside: DecodingMethod = (prompt) => {
      const plain = sequential(prompt);
      return { ...plain, conclude: async (text, outputs) => (await plain.conclude(text, outputs)).map(() => 50) };
    };
    const nothing: DecodingMethod = () => Object.create(null) as Continuation;
    const half: DecodingMethod = (prompt) => ({
      ...sequential(prompt),
      plan: () => Promise.resolve(JSON.parse('null')),
    });
    const options = { promptTokens: [3, 4, 5], maxTokens: 6, ignoreEos: true };
    const expected = await generateToEnd(engine, options);
    const runner = new Runner(engine);
    const texts = await Promise.allSettled(
      [sequential, failing, outside, nothing, half, speculative(lookupDrafter())].map((method) =>
        ending(runner.submit(jobFor(options, method))),
      ),
    );
    expect(texts).toMatchObject([
      { value: { finish: 'length', tokens: expected.tokens } },
      { reason: { message: 'no plan' } },
      { reason: { code: 'INPUT' } },
      {
        reason: {
          code: 'INPUT',
          message: 'what `method` returned is an object, expected an object with plan and conclude',
        },
      },
      { reason: { code: 'INPUT', message: 'a plan of `method` is null, expected a list' } },
      { value: { finish: 'length', tokens: expected.tokens } },
    ]);
  });

  it('of no texts is nothing', async () => {
    const runner = new Runner(engine);
    expect(runner.submitAll([])).toEqual([]);
    await runner.close();
  });

  it('ends a text where it stands, with what has been held back', async () => {
    const options = { promptTokens: [3, 4, 5], maxTokens: 40, ignoreEos: true, tokenizer: letters };
    const whole = await generateToEnd(engine, options);
    const stop = { strings: [`${whole.text.slice(0, 9)}#`] };
    const controller = new AbortController();
    const job = jobFor({ ...options, stop, signal: controller.signal }, sequential);
    const events: TextEvent[] = [];
    for await (const event of new Runner(engine, { tokenizer: letters }).submit(job)) {
      events.push(event);
      if (events.length === 4) controller.abort();
    }
    expect(events.slice(1, 5)).toMatchObject([
      ...whole.tokens.slice(0, 3).map((token) => ({ type: 'tokens', tokens: [token], text: '' })),
      { type: 'tokens', tokens: [], text: letters.decode(whole.tokens.slice(0, 3)) },
    ]);
    const last = { finish: 'abort', tokens: whole.tokens.slice(0, 3), steps: 3, state: { length: 5 } };
    expect(events.slice(5)).toMatchObject([{ type: 'end', generation: last }]);
  });
});

describe('beams as a method', () => {
  it('gives the best hypothesis, and a state that has read it', async () => {
    for (const ignoreEos of [true, false]) {
      const search = { maxTokens: 20, ignoreEos, lengthPenalty: 0.7 };
      const [[best]] = await bestBeams(engine, [[3, 4, 5]], 4, search);
      const method = beamMethod(4, search);
      const found = await generateToEnd(engine, { promptTokens: [3, 4, 5], maxTokens: 20, ignoreEos, method });
      expect(found.tokens).toEqual(best.tokens);
      expect(found.finish).toBe(best.ended ? 'eos' : 'length');
      expect(found.state.length).toBe(3 + best.tokens.length - (best.ended ? 0 : 1));
    }
  });

  it('needs a number of beams', () => {
    expect(() => beamMethod(0)).toThrow(/beams is 0/);
  });
});
