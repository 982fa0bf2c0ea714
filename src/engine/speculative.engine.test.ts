import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { letters } from '../../test/models/letters.ts';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import { tinyConfig } from '../../test/models/tiny-model.ts';
import type { MixerInput } from '../attention/kinds/index.ts';
import { mixerPreset } from '../attention/presets.ts';
import { chain, TokenTree } from '../attention/tree.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { Random } from '../random.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import { generate, type GenerateOptions, generateToEnd } from '../../test/decoding/generated.ts';
import type { Continuation } from '../decoding/method.ts';
import { Sampler, type SamplerInput } from '../decoding/sampler.ts';
import { rejection } from '../decoding/speculation/acceptance.ts';
import { CombinedDrafter } from '../decoding/speculation/drafters/combined-drafter.ts';
import type { Drafter } from '../decoding/speculation/drafters/drafter.ts';
import { type HeadPredictions, MedusaDrafter } from '../decoding/speculation/drafters/medusa-drafter.ts';
import { ModelDrafter } from '../decoding/speculation/drafters/model-drafter.ts';
import { AdaptiveSpeculation } from '../decoding/speculation/adaptive-speculation.ts';
import { drafterMakers, LearnedTexts, lookupDrafter } from '../decoding/speculation/drafters/registry.ts';
import { ReferenceDrafter } from '../decoding/speculation/drafters/reference-drafter.ts';
import { SpeculationStatistics, speculative, type VerifiedTree } from '../decoding/speculation/speculative.ts';

const G = 6;
const both = (mixer: MixerInput): readonly MixerInput[] => [mixer, mixer];
const augmented: MixerInput = mixerPreset('augmented', { group: G, kernel: 9 });
const softmax: MixerInput = { kind: 'softmax' };

/** Two layers each. Groups are smaller than the trees are deep, or nearly so. */
const models: Readonly<Record<string, readonly MixerInput[]>> = {
  softmax: both(softmax),
  local: both(mixerPreset('local', { group: G })),
  'local+global': both(mixerPreset('local+global', { group: G })),
  'local+conv': both(mixerPreset('local+conv', { group: G, kernel: 9 })),
  augmented: both(augmented),
  'augmented, G = 2': both(mixerPreset('augmented', { group: 2, kernel: 9 })),
  'augmented, K = 63': both(mixerPreset('augmented', { group: 64, kernel: 63 })),
  'augmented, softmax': [augmented, softmax],
  'sink logits': [
    { kind: 'window', group: 4, window: 2, sinks: 1, memory: {}, sinkLogit: true },
    { kind: 'softmax', sinkLogit: true },
  ],
  'augmented with other G, K': [augmented, mixerPreset('augmented', { group: 4, kernel: 5 })],
};

/** Heads that know nothing. */
function randomHeads(vocabulary: number, seed: number): HeadPredictions {
  const random = new Random(seed);
  return {
    count: 4,
    topK: (_, k) =>
      Promise.resolve(
        Array.from({ length: 4 }, () =>
          Int32Array.from(random.shuffle(Array.from({ length: vocabulary }, (_, token) => token)).slice(0, k)),
        ),
      ),
  };
}

function makeEngine(mixers: readonly MixerInput[], seed = 3): Promise<DecodingEngine> {
  const model = tinyLlama(mixers);
  return DecodingEngine.create(model, randomParameters(model, seed), { threads: 1 });
}

/** Samplers, and the length of the prompt whose text each of them chooses. */
const samplers: Readonly<Record<string, readonly [config: SamplerInput, promptLength: number]>> = {
  greedy: [{}, 11],
  'greedy with a repetition penalty': [{ repetitionPenalty: 1.3, repetitionWindow: 8 }, 1],
  sampled: [{ temperature: 0.8, topP: 0.9, seed: 5 }, 11],
};

let draftEngine: DecodingEngine;
beforeAll(async () => {
  draftEngine = await makeEngine(both(mixerPreset('local', { group: G })), 4);
});
afterAll(() => draftEngine.dispose());

describe.each(Object.entries(models))('speculative decoding, %s', (_, mixers) => {
  let engine: DecodingEngine;
  beforeAll(async () => {
    engine = await makeEngine(mixers);
  });
  afterAll(() => engine.dispose());

  it.each(Object.entries(samplers))(
    '%s text equals that of sequential decoding with every drafter',
    async (_, [config, promptLength]) => {
      const V = engine.model.sizes.vocabulary;
      const learned = new LearnedTexts();
      const promptTokens = [...randomTokens(engine.model, promptLength, promptLength)];
      const options = (): GenerateOptions => ({
        promptTokens,
        maxTokens: 70,
        ignoreEos: true,
        sampler: new Sampler(config),
      });
      const expected = await generateToEnd(engine, options());
      const truth = [...promptTokens, ...expected.tokens];
      const drafters: Drafter[] = [
        ...Object.values(drafterMakers).map((make) => make(learned)),
        drafterMakers.suffix(learned), // knows the text by now
        new MedusaDrafter(randomHeads(V, 1)),
        new ReferenceDrafter(truth, V, { seed: 2 }),
        new ReferenceDrafter(truth, V, { seed: 3, hitRate: 1, paths: longPaths }),
        new ModelDrafter(draftEngine, V, { depth: 3, width: 2 }),
        new ModelDrafter(engine, V, { depth: 5 }), // its own draft model, always right where greedy
        new CombinedDrafter([lookupDrafter(), new ReferenceDrafter(truth, V, { seed: 4 })], { maxNodes: 40 }),
      ];
      for (const drafter of drafters) {
        const statistics = new SpeculationStatistics();
        const result = await generateToEnd(engine, { ...options(), method: speculative(drafter, { statistics }) });
        expect(result.tokens, drafter.name).toEqual(expected.tokens);
        expect(result.state.length, drafter.name).toBe(expected.state.length);
        if (drafter.name === 'reference') expect(statistics.summary.tokensPerStep).toBeGreaterThan(2);
      }
    },
  );
});

/** A chain that is longer than groups, with a second branch. */
const longPaths = [...Array.from({ length: 14 }, (_, i) => new Array<number>(i + 1).fill(0)), [1], [1, 0], [1, 1]];

describe('speculative decoding', () => {
  it('leaves a state that continues as if it had not speculated', async () => {
    await using engine = await makeEngine(both(augmented));
    const V = engine.model.sizes.vocabulary;
    const promptTokens = [...randomTokens(engine.model, 9, 1)];
    const whole = await generateToEnd(engine, { promptTokens, maxTokens: 60, ignoreEos: true });
    const truth = [...promptTokens, ...whole.tokens];
    for (const maxTokens of [1, 2, 3, 10, 11, 12, 13]) {
      const drafter = new ReferenceDrafter(truth, V, { hitRate: 1 });
      const method = speculative(drafter);
      const part = await generateToEnd(engine, { promptTokens, maxTokens, ignoreEos: true, method });
      expect(part.tokens).toEqual(whole.tokens.slice(0, maxTokens));
      expect(part.state.length).toBe(promptTokens.length + maxTokens - 1);
      const rest = await generateToEnd(engine, {
        promptTokens: [...promptTokens, ...part.tokens],
        state: part.state,
        maxTokens: 60 - maxTokens,
        ignoreEos: true,
      });
      expect([...part.tokens, ...rest.tokens]).toEqual(whole.tokens);
    }
  });

  it('ends at end tokens, wherever in a tree they are, with the state of sequential decoding', async () => {
    await using engine = await makeEngine(both(augmented));
    const V = engine.model.sizes.vocabulary;
    const promptTokens = [...randomTokens(engine.model, 9, 1)];
    const whole = await generateToEnd(engine, { promptTokens, maxTokens: 60, ignoreEos: true });
    const truth = [...promptTokens, ...whole.tokens];
    for (const end of new Set(whole.tokens.slice(0, 20))) {
      const options: GenerateOptions = { promptTokens, maxTokens: 60, ignoreEos: true, stop: { tokenIds: [end] } };
      const expected = await generateToEnd(engine, options);
      const drafter = new ReferenceDrafter(truth, V, { hitRate: 1 });
      const result = await generateToEnd(engine, { ...options, method: speculative(drafter) });
      expect(result.tokens).toEqual(expected.tokens);
      expect(result.finish).toBe('stop');
      expect(result.state.length).toBe(expected.state.length);
    }
  });

  it('reads nothing that a stop string cuts off', async () => {
    await using engine = await makeEngine(both(augmented));
    const V = engine.model.sizes.vocabulary;
    const promptTokens = [...randomTokens(engine.model, 9, 1)];
    const whole = await generateToEnd(engine, { promptTokens, maxTokens: 60, ignoreEos: true });
    for (const at of [2, 3, 4, 5, 6, 7]) {
      const stop = { strings: [letters.decode(whole.tokens.slice(at - 1, at + 1))] };
      const options: GenerateOptions = { promptTokens, maxTokens: 60, ignoreEos: true, stop, tokenizer: letters };
      const expected = await generateToEnd(engine, options);
      const drafter = new ReferenceDrafter([...promptTokens, ...whole.tokens], V, { hitRate: 1 });
      const result = await generateToEnd(engine, { ...options, method: speculative(drafter) });
      expect(result.tokens).toEqual(expected.tokens);
      expect(result.text).toBe(expected.text);
      expect(result.state.length).toBe(expected.state.length);
    }
  });

  it('can be interrupted between rounds, and the state has read all but the last token', async () => {
    await using engine = await makeEngine(both(augmented));
    const promptTokens = [...randomTokens(engine.model, 9, 1)];
    const stop = new AbortController();
    const method = speculative(lookupDrafter());
    let finished = false;
    for await (const event of generate(engine, {
      promptTokens,
      maxTokens: 500,
      ignoreEos: true,
      method,
      signal: stop.signal,
    })) {
      if (event.type === 'tokens' && event.tokens.length > 0) stop.abort();
      if (event.type !== 'end') continue;
      const { generation } = event;
      expect(generation.finish).toBe('abort');
      expect(generation.state.length).toBe(promptTokens.length + generation.tokens.length - 1);
      finished = true;
    }
    expect(finished).toBe(true);
  });

  it('verifies texts of one batch, each with its own drafter, tree and length, in common steps', async () => {
    await using engine = await makeEngine([augmented, softmax]);
    const V = engine.model.sizes.vocabulary;
    const prompts = [1, 7, 16, 23].map((length) => [...randomTokens(engine.model, length, length)]);
    const expected: number[][] = [];
    for (const promptTokens of prompts) {
      expected.push([...(await generateToEnd(engine, { promptTokens, maxTokens: 40, ignoreEos: true })).tokens]);
    }
    const reference = (i: number, paths?: number[][]): Drafter =>
      new ReferenceDrafter([...prompts[i], ...expected[i]], V, { seed: i, ...(paths && { paths }) });
    const drafters = [reference(0), reference(1, longPaths), lookupDrafter(), new MedusaDrafter(randomHeads(V, 2))];
    const bounds = { count: 30, ends: new Set<number>() };
    const decoders: Continuation[] = [];
    const texts = prompts.map((prompt) => [...prompt]);
    for (const [i, prompt] of prompts.entries()) {
      const state = engine.newState();
      const read = await engine.prefill(state, prompt);
      const decoder = speculative(drafters[i])({ engine, state, sampler: new Sampler(), ...read });
      expect(await decoder.plan(texts[i], bounds)).toEqual([]);
      texts[i].push(...(await decoder.conclude(texts[i], [])));
      decoders.push(decoder);
    }
    for (let round = 0; round < 8; round++) {
      const requests = (await Promise.all(decoders.map((decoder, i) => decoder.plan(texts[i], bounds)))).flat();
      expect(new Set(requests.map(({ tree }) => tree.size)).size).toBeGreaterThan(1);
      const outputs = await engine.step(requests);
      for (const [i, decoder] of decoders.entries()) texts[i].push(...(await decoder.conclude(texts[i], [outputs[i]])));
    }
    for (const [i, text] of texts.entries()) {
      const written = text.slice(prompts[i].length);
      expect(written.slice(0, 40)).toEqual(expected[i].slice(0, written.length));
      expect(written.length).toBeGreaterThan(8);
    }
  });

  it('gives the same text whatever the adaptive decides', async () => {
    await using engine = await makeEngine(both(augmented));
    const promptTokens = [...randomTokens(engine.model, 5, 3)];
    const options: GenerateOptions = { promptTokens, maxTokens: 120, ignoreEos: true };
    const expected = await generateToEnd(engine, options);
    const statistics = new SpeculationStatistics();
    const adaptive = new AdaptiveSpeculation({ trial: 2, interval: 3 });
    const method = speculative(lookupDrafter(), { adaptive, statistics });
    const result = await generateToEnd(engine, { ...options, method });
    expect(result.tokens).toEqual(expected.tokens);
    const { steps, speculatedSteps } = statistics.summary;
    expect(speculatedSteps).toBeGreaterThan(2);
    expect(steps - speculatedSteps).toBeGreaterThan(2);
  });

  it('accounts for every token, node and second', async () => {
    await using engine = await makeEngine(both(augmented));
    const V = engine.model.sizes.vocabulary;
    const promptTokens = [...randomTokens(engine.model, 9, 1)];
    const whole = await generateToEnd(engine, { promptTokens, maxTokens: 81, ignoreEos: true });
    const statistics = new SpeculationStatistics();
    const drafter = new ReferenceDrafter([...promptTokens, ...whole.tokens], V);
    const result = await generateToEnd(engine, {
      promptTokens,
      maxTokens: 81,
      ignoreEos: true,
      method: speculative(drafter, { statistics }),
    });
    const { steps, tokensPerStep, acceptedByDepth, seconds } = statistics.summary;
    expect(result.steps).toBe(steps + 1);
    expect(steps * tokensPerStep).toBeCloseTo(80, 9);
    expect(1 + acceptedByDepth.reduce((sum, share) => sum + share, 0)).toBeCloseTo(tokensPerStep, 9);
    expect(acceptedByDepth.every((share, i) => share <= (acceptedByDepth[i - 1] ?? 1))).toBe(true);
    const total = seconds.draft + seconds.verify + seconds.accept + seconds.commit;
    expect(total).toBeGreaterThan(0);
    expect(total).toBeLessThanOrEqual(result.decodeSeconds + 0.01);
  });

  it.each([
    ['qwen3_5_text', 2, 'replays each path'],
    ['llama', 8, 'reads all paths at once'],
  ])('reads drafts of %s of at most %i paths: it %s', async (family, most) => {
    const model = describeCausalModel(tinyConfig(family));
    await using engine = await DecodingEngine.create(model, randomParameters(model, 3), { threads: 1 });
    const counts: number[] = [];
    const paths = Array.from({ length: 8 }, (_, rank) => [rank]);
    const onTree = ({ parents }: VerifiedTree): void => {
      counts.push(new TokenTree(parents).leaves().length);
    };
    const method = speculative(new MedusaDrafter(randomHeads(model.sizes.vocabulary, 1), paths), { onTree });
    await generateToEnd(engine, { promptTokens: [1, 2, 3], maxTokens: 12, ignoreEos: true, method });
    expect(Math.max(...counts)).toBe(most);
  });

  it('refuses drafts that do not grow from the text', async () => {
    await using engine = await makeEngine(both(augmented));
    const promptTokens = [...randomTokens(engine.model, 9, 1)];
    const broken = (tree: TokenTree, tokens: (root: number) => readonly number[]): Drafter => ({
      name: 'broken',
      propose: ({ root }) => Promise.resolve({ tree, tokens: Int32Array.from(tokens(root)) }),
    });
    for (const drafter of [
      broken(chain(2), (root) => [root + 1, 0]),
      broken(chain(2), (root) => [root]),
      broken(new TokenTree([-1, -1]), (root) => [root, 0]),
    ]) {
      const attempt = generateToEnd(engine, {
        promptTokens,
        maxTokens: 5,
        ignoreEos: true,
        method: speculative(drafter),
      });
      await expect(attempt).rejects.toMatchObject({ code: 'INPUT' });
    }
  });

  it('rejection sampling at temperature 0 is greedy decoding', async () => {
    await using engine = await makeEngine(both(augmented));
    const V = engine.model.sizes.vocabulary;
    const promptTokens = [...randomTokens(engine.model, 9, 1)];
    const whole = await generateToEnd(engine, { promptTokens, maxTokens: 60, ignoreEos: true });
    const drafter = new ReferenceDrafter([...promptTokens, ...whole.tokens], V);
    const method = speculative(drafter, { acceptance: rejection });
    const result = await generateToEnd(engine, { promptTokens, maxTokens: 60, ignoreEos: true, method });
    expect(result.tokens).toEqual(whole.tokens);
  });
});
