/** Scores by shared states against whole sequences read at once, of every kind of mixer and of exported models. */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { mixerPreset } from '../../src/attention/presets.ts';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { tokenLosses } from '../../src/evaluation/perplexity/losses.ts';
import { perplexity } from '../../src/evaluation/perplexity/perplexity.ts';
import { EngineScorer } from '../../src/engine/scoring/engine-scorer.ts';
import type { ScoreRequest } from '../../src/engine/scoring/scorer.ts';
import { scoredSequence } from '../../src/engine/scoring/token-sequences.ts';
import { exportModel } from '../../src/export/export-model.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';
import { readerOf } from '../../src/quantization/weight-reader.ts';
import { loadTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { examplesWith } from '../attention/mixer-examples.ts';
import { errorCode } from '../error-code.ts';
import { thirdParty } from '../fixtures.ts';
import { type ModelWithWeights, augmentedTinyLlama } from '../export/exported-model.ts';
import { randomT5Weights, tinyT5 } from '../models/tiny-t5.ts';
import { tinyLlama, randomParameters } from '../models/tiny-llama.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { openReady } from '../open/ready-model.ts';

/** Largest difference of a log-likelihood, in nats. */
const tolerance = 1e-4;

const examples = Array.from(
  { length: 5 },
  (_, i) =>
    `Question: Tom saw ${i + 2} birds in a tree. The birds were ${i % 2 === 0 ? 'red' : 'blue'}.\nAnswer: yes\n\n`,
).join('');
/** Longer than a group and a step; the questions differ in length, and one is longer than a step by itself. */
const requests: ScoreRequest[] = Array.from({ length: 6 }, (_, question) => {
  const story = `Lily ran ${'very '.repeat(question * (question === 5 ? 40 : 3))}far to see the dog.`;
  const context = `${examples}Question: ${story} Was she happy?\nAnswer:`;
  return [' yes', ' no', ' She was happy to see her dog', ' maybe'].map((continuation) => ({ context, continuation }));
}).flat();

/** Each request as a whole sequence, in the parallel form. */
async function expected(
  { model, parameters }: ModelWithWeights,
  tokenizer: Tokenizer,
  bos: boolean,
): Promise<number[]> {
  const windows = requests.map((request) => {
    const { tokens, scored } = scoredSequence(tokenizer, request, { bos, maxLength: 4096 });
    return { tokens: Int32Array.from(tokens), scoredFrom: tokens.length - scored };
  });
  const losses = await tokenLosses(model, parameters, windows);
  return losses.map((row, index) => -row.subarray(windows[index].scoredFrom - 1).reduce((sum, loss) => sum + loss, 0));
}

function largestDifference(first: readonly number[], second: readonly number[]): number {
  return Math.max(...first.map((value, index) => Math.abs(value - second[index])));
}

describe('scores of the small LLaMA', () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await loadTokenizer('assets/tiny-llama');
  });

  it.each(['softmax', 'augmented'] as const)('%s: together as alone, and as whole sequences', async (name) => {
    const loaded: ModelWithWeights =
      name === 'softmax' ? await loadCausalModel('assets/tiny-llama') : await augmentedTinyLlama();
    await using engine = await DecodingEngine.create(loaded.model, loaded.parameters);
    const options = { engine, tokenizer, bos: true, maxLength: 4096 };
    const together = new EngineScorer(options);
    const alone = new EngineScorer({ ...options, sharing: false });
    const scores = await together.score(requests);
    const single = await alone.score(requests);
    const whole = await expected(loaded, tokenizer, true);
    const values = scores.map(({ logLikelihood }) => logLikelihood);
    expect(largestDifference(values, whole)).toBeLessThan(tolerance);
    expect(
      largestDifference(
        values,
        single.map(({ logLikelihood }) => logLikelihood),
      ),
    ).toBeLessThan(tolerance);
    expect(scores.map(({ isGreedy }) => isGreedy)).toEqual(single.map(({ isGreedy }) => isGreedy));
    // What was asked for was read once, or not at all.
    expect(together.usage.tokensRead + together.usage.tokensReused).toBe(alone.usage.tokensRead);
    expect(alone.usage.tokensReused).toBe(0);
    expect(together.usage.tokensRead).toBeLessThan(alone.usage.tokensRead / 5);
    // The examples are remembered from call to call.
    const before = together.usage.tokensRead;
    await together.score(requests);
    expect(together.usage.tokensRead - before).toBeLessThan(before);
  });

  it('texts without windows are as long as they are; windows predict every token once', async () => {
    const { model, parameters } = await loadCausalModel('assets/tiny-llama');
    await using engine = await DecodingEngine.create(model, parameters);
    const text = examples.repeat(3);
    const tokens = tokenizer.encode(text, { bos: true });
    const whole = { windows: [{ tokens, scoredFrom: 1 }], documents: 1 };
    const { nll } = await perplexity(model, parameters, whole);
    const [unlimited] = await new EngineScorer({ engine, tokenizer, rollingContext: 'unlimited' }).rolling([text]);
    const [oneWindow] = await new EngineScorer({ engine, tokenizer, maxLength: tokens.length }).rolling([text]);
    expect(Math.abs(unlimited + nll * (tokens.length - 1))).toBeLessThan(1e-3);
    expect(Math.abs(unlimited - oneWindow)).toBeLessThan(1e-3);
    const [windows] = await new EngineScorer({ engine, tokenizer, maxLength: 100 }).rolling([text]);
    expect(windows).toBeLessThan(0);
    expect(windows).not.toBe(unlimited);
  });

  it('answers with and without a shared beginning are equal, and stop where they should', async () => {
    const { model, parameters } = await augmentedTinyLlama();
    await using engine = await DecodingEngine.create(model, parameters);
    const prompts = ['Once', 'Lily', 'The dog'].map((start) => ({
      context: `${examples}${start}`,
      until: ['\n'],
      maxTokens: 12,
    }));
    const shared = await new EngineScorer({ engine, tokenizer, maxLength: 2048 }).generate(prompts);
    const alone = await new EngineScorer({ engine, tokenizer, maxLength: 2048, sharing: false }).generate(prompts);
    expect(shared).toEqual(alone);
    expect(shared.join('')).not.toContain('\n');
  });

  it('generates several answers in the same steps, and counts what it read', async () => {
    const { model, parameters } = await augmentedTinyLlama();
    await using engine = await DecodingEngine.create(model, parameters);
    const prompts = Array.from({ length: 11 }, (_, i) => ({
      context: `${examples}${'Once upon a time '.repeat(i)}`,
      until: i % 2 === 0 ? ['\n', 'the'] : [],
      maxTokens: 4 + 3 * i,
    }));
    const steps: number[] = [];
    const step = engine.step.bind(engine);
    engine.step = (nodes, weights) => {
      steps.push(nodes.length);
      return step(nodes, weights);
    };
    const together = new EngineScorer({ engine, tokenizer, maxLength: 2048 });
    const done: number[] = [];
    const answers = await together.generate(prompts, { onProgress: (count) => done.push(count) });
    expect(Math.max(...steps)).toBeGreaterThan(4);
    expect(done.at(-1)).toBe(prompts.length);
    const alone = new EngineScorer({ engine, tokenizer, maxLength: 2048, sharing: false });
    expect(await alone.generate(prompts)).toEqual(answers);
    expect(alone.usage.tokensGenerated).toBe(together.usage.tokensGenerated);
    expect(together.usage.tokensRead + together.usage.tokensReused).toBe(alone.usage.tokensRead);
    const stopped = AbortSignal.abort();
    expect(await errorCode(() => together.generate(prompts, { signal: stopped }))).toBe('ABORTED');
  });

  it('asks T5 for answers, and refuses to ask it for continuations', async () => {
    const model = tinyT5('local+global');
    await using engine = await DecodingEngine.create(model, randomT5Weights(model));
    const reader: Tokenizer = {
      vocabularySize: 20,
      specialIds: new Set(),
      encode: (text) => Int32Array.from(text, (letter) => 3 + (letter.charCodeAt(0) % 16)),
      decode: (tokens) => Array.from(tokens, String).join(' '),
    };
    const scorer = new EngineScorer({ engine, tokenizer: reader, maxLength: 64 });
    const prompts = ['one', 'two three'].map((context) => ({ context, until: [], maxTokens: 5 }));
    const alone = new EngineScorer({ engine, tokenizer: reader, maxLength: 64, sharing: false });
    expect(await scorer.generate(prompts)).toEqual(await alone.generate(prompts));
    expect(await errorCode(() => scorer.score(requests))).toBe('CONFIG');
    await expect(scorer.rolling(['a text'])).rejects.toThrow(
      /only causal models score continuations; a t5 model reads/,
    );
  });

  it('stops when it is told to', async () => {
    const { model, parameters } = await augmentedTinyLlama();
    await using engine = await DecodingEngine.create(model, parameters);
    const stopped = AbortSignal.abort();
    const scorer = new EngineScorer({ engine, tokenizer });
    expect(await errorCode(() => scorer.score(requests, { signal: stopped }))).toBe('ABORTED');
  });
});

describe('scores of every kind of mixer', () => {
  /** Tokens by the number of their character. */
  const letters: Tokenizer = {
    vocabularySize: 50,
    bosId: 1,
    eosId: 2,
    specialIds: new Set([1, 2]),
    encode: (text, { bos = false } = {}) =>
      Int32Array.from([...(bos ? [1] : []), ...Array.from(text, (letter) => 3 + (letter.charCodeAt(0) % 40))]),
    decode: (ids) => Array.from(ids, (id) => String.fromCharCode(64 + id)).join(''),
  };

  // Those that a LLaMA can have.
  const kinds = examplesWith('recurrent').filter(
    ({ config }) => !['gau', 't5-linear', 'short-conv', 'delta-net', 'mamba2'].includes(config.kind),
  );

  it.each(kinds)('$name: together as alone', async ({ config }) => {
    const model = tinyLlama([config, config]);
    const parameters = randomParameters(model, 3);
    await using engine = await DecodingEngine.create(model, parameters);
    const options = { engine, tokenizer: letters, bos: true, maxLength: 4096 };
    const part = [0, 1, 2, 20, 21].map((index) => requests[index]);
    const together = await new EngineScorer(options).score(part);
    const alone = await new EngineScorer({ ...options, sharing: false }).score(part);
    const values = together.map(({ logLikelihood }) => logLikelihood);
    expect(
      largestDifference(
        values,
        alone.map(({ logLikelihood }) => logLikelihood),
      ),
    ).toBeLessThan(tolerance);
  });
});

const stories = thirdParty('stories260k');

describe.skipIf(stories === undefined)('scores of stories260k (need the third-party fixtures)', () => {
  const folder = suiteFolder();
  let tokenizer: Tokenizer;
  let softmax: ModelWithWeights;
  let augmented: ModelWithWeights;
  beforeAll(async () => {
    tokenizer = await loadTokenizer(stories ?? '');
    softmax = await loadCausalModel(stories ?? '');
    augmented = linearize(softmax.model, softmax.parameters, mixerPreset('augmented'));
  });

  it.each(['softmax', 'augmented'] as const)('%s and its export equal whole sequences', async (name) => {
    const loaded = name === 'softmax' ? softmax : augmented;
    expect(tokenizer.before).toEqual([tokenizer.bosId]);
    const whole = await expected(loaded, tokenizer, true);
    const dir = join(folder, name);
    await exportModel(dir, {
      model: loaded.model,
      weights: readerOf(loaded.parameters),
      dtype: 'f32',
      tokenizerFiles: { from: stories ?? '' },
    });
    await using own = await DecodingEngine.create(loaded.model, loaded.parameters);
    await using exported = await openReady(dir);
    for (const engine of [own, exported.engine]) {
      const scores = await new EngineScorer({ engine, tokenizer, maxLength: 4096 }).score(requests);
      expect(
        largestDifference(
          scores.map(({ logLikelihood }) => logLikelihood),
          whole,
        ),
      ).toBeLessThan(tolerance);
    }
  });
});
