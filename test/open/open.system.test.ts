/** `open`: what each kind of model answers, and how the others refuse. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { errorCode } from '../error-code.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { startClassifier } from '../../src/checkpoint/load-classifier.ts';
import { loadCausalModel, saveModel } from '../../src/checkpoint/load-model.ts';
import { generateToEnd } from '../decoding/generated.ts';
import { exportFolder } from '../../src/export/export-model.ts';
import { beamMethod } from '../../src/engine/search/beam-search.ts';
import { open } from '../../src/open/index.ts';
import { openedKinds, writerKinds } from '../../src/open/opened-model.ts';

const place = suiteFolder();
const at = (name: string): string => join(place, name);

beforeAll(async () => {
  for (const family of ['llama', 'gpt2', 'bert', 't5']) await saveTinyModel(at(family), 1, family);
  const classifier = await startClassifier(at('llama'), ['good', 'bad', 'odd'], 3);
  await saveModel(at('classifier'), classifier, { tokenizerFiles: { from: at('llama') } });
  await exportFolder(at('llama'), at('exported'), { dtype: 'f32' });
  await exportFolder(at('t5'), at('exported-t5'), { dtype: 'f32' });
});

describe('open', () => {
  it.each([
    ['llama', 'causal', 'llama'],
    ['gpt2', 'causal', 'gpt2'],
    ['bert', 'encoder', 'bert'],
    ['t5', 'encoder-decoder', 't5'],
    ['classifier', 'classifier', 'llama'],
    ['exported', 'causal', 'llama'],
    ['exported-t5', 'encoder-decoder', 't5'],
  ])('says what %s is', async (name, kind, family) => {
    await using model = await open(at(name), { kind: openedKinds });
    expect(model).toMatchObject({ kind, family, origin: at(name) });
    expect(model.tokenizer.vocabularySize).toBe(258);
  });

  it.each(['llama', 'exported'])('streams what the engine gives: %s', async (name) => {
    await using model = await open(at(name));
    const promptTokens = model.tokenizer.encode('ab', { bos: true });
    const options = { promptTokens, maxTokens: 12, tokenizer: model.tokenizer, ignoreEos: true };
    const { text, tokens } = await generateToEnd(await model.engine(), options);
    const pieces: string[] = [];
    const generated = model.generate('ab', { maxTokens: 12, ignoreEos: true });
    for await (const piece of generated) pieces.push(piece);
    expect(pieces.join('')).toBe(text);
    expect(generated.generation.tokens).toEqual(tokens);
    expect(await errorCode(() => generated.text())).toBe('INPUT');
  });

  it.each(['llama', 't5'])('writes JSON of a schema: %s', async (name) => {
    await using model = await open(at(name), { kind: writerKinds });
    const jsonSchema = { type: 'array', items: { enum: ['a', 1] }, minItems: 2, maxItems: 3 };
    const text = await model.generate('ab', { maxTokens: 60, jsonSchema, temperature: 1, seed: 2 }).text();
    const items: unknown = JSON.parse(text);
    expect(items).toSatisfy(
      (list: unknown) => Array.isArray(list) && list.every((item: unknown) => item === 'a' || item === 1),
    );
    const endless = model.generate('ab', { jsonSchema, ignoreEos: true });
    expect(await errorCode(() => endless.text())).toBe('INPUT');
  });

  it('samples by its options, and stops', async () => {
    await using model = await open(at('llama'));
    const options = { maxTokens: 20, temperature: 1, seed: 5, ignoreEos: true };
    const whole = await model.generate('ab', options).text();
    expect(await model.generate('ab', options).text()).toBe(whole);
    expect(await model.generate('ab', { ...options, seed: 6 }).text()).not.toBe(whole);
    const stop = [...whole][4];
    expect(await model.generate('ab', { ...options, stop: [stop] }).text()).toBe(whole.slice(0, whole.indexOf(stop)));
    expect(await errorCode(() => model.generate('ab', { temperature: -1 }).text())).toBe('CONFIG');
  });

  it('generates with T5, exported or not', async () => {
    const tokensOf = async (name: string): Promise<readonly number[]> => {
      await using model = await open(at(name), { kind: 'encoder-decoder' });
      const generated = model.generate('abc', { maxTokens: 6, ignoreEos: true });
      await generated.text();
      return generated.generation.tokens;
    };
    const tokens = await tokensOf('t5');
    expect(tokens).toHaveLength(6);
    expect(await tokensOf('exported-t5')).toEqual(tokens);
  });

  it('classifies', async () => {
    await using model = await open(at('classifier'), { kind: 'classifier' });
    const { label, probability, classes } = await model.classify('some text');
    expect(classes.map((one) => one.label)).toEqual(['good', 'bad', 'odd']);
    expect(classes.reduce((sum, one) => sum + one.probability, 0)).toBeCloseTo(1);
    expect(probability).toBe(Math.max(...classes.map((one) => one.probability)));
    expect(classes.find((one) => one.label === label)?.probability).toBe(probability);
    expect((await model.classify('some text', 'and another')).probability).not.toBe(probability);
  });
});

describe('what a kind does not do', () => {
  const actions = ['generate', 'chat', 'classify', 'score', 'session', 'linearize', 'save', 'engine'];
  it.each([
    ['llama', ['classify']],
    ['t5', ['chat', 'classify']],
    ['bert', ['generate', 'chat', 'classify', 'score', 'session', 'engine']],
    ['classifier', ['generate', 'chat', 'score', 'session', 'linearize', 'save', 'engine']],
    ['exported', ['classify']],
  ])('%s has no methods %j', async (name, absent) => {
    await using model = await open(at(name), { kind: openedKinds });
    expect(actions.filter((action) => !(action in model))).toEqual(absent);
  });

  it.each([
    ['llama', 'classifier', /this llama model is a causal language model; expected a classifier/],
    ['t5', 'causal', /an encoder-decoder: it reads a text and writes another; expected a causal language model/],
    ['bert', 'causal', /an encoder: it reads texts and generates none/],
    ['classifier', 'causal', /is a classifier of 3 labels/],
    ['exported-t5', 'causal', /an encoder-decoder/],
  ] as const)('%s is not opened as %s', async (name, kind, message) => {
    await expect(open(at(name), { kind })).rejects.toMatchObject({
      code: 'CONFIG',
      message: expect.stringMatching(message) as unknown,
    });
  });

  it('is refused where the folder lacks what it needs', async () => {
    await using plain = await open(at('llama'));
    expect(await errorCode(() => plain.chat([{ role: 'user', content: 'a' }]))).toBe('CONFIG');
    await using exported = await open(at('exported'));
    expect(await errorCode(() => exported.linearize('augmented'))).toBe('CONFIG');
    expect(await errorCode(() => exported.save(at('nowhere')))).toBe('CONFIG');
  });

  it('is refused after dispose, too', async () => {
    const model = await open(at('llama'));
    await model.dispose();
    expect(await errorCode(() => model.generate('a').text())).toBe('RUNTIME');
  });
});

describe('score', () => {
  it.each(['llama', 'exported', 't5'])('adds up what %s predicts, token by token', async (name) => {
    await using model = await open(at(name), { kind: writerKinds });
    const engine = await model.engine();
    const [first, second] = await model.score('ab', ['cd', 'xyz']);
    const encode = (text: string) => [...model.tokenizer.encode(text)];
    const read = engine.model.cross
      ? { state: engine.newState(await engine.encode([...encode('ab'), 257])), tokens: [256] }
      : { state: engine.newState(), tokens: [256, ...encode('ab')] };
    let { logits } = await engine.prefill(read.state, read.tokens);
    let expected = 0;
    for (const token of encode('cd')) {
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
      expected += logits[token] - Math.log(total);
      ({ logits } = await engine.advance(read.state, token));
    }
    expect(first.logLikelihood).toBeCloseTo(expected, 4);
    expect(first.tokens).toBe(2);
    expect(second.tokens).toBe(3);
  });

  it('knows the greedy continuation, and gives spaces to it', async () => {
    await using model = await open(at('llama'));
    const likely: string[] = [];
    for (let byte = 32; byte < 127; byte++) likely.push(String.fromCharCode(byte));
    const scores = await model.score('ab', likely);
    const greedy = model.generate('ab', { maxTokens: 1, ignoreEos: true });
    await greedy.text();
    scores.forEach(({ isGreedy }, index) => {
      expect(isGreedy).toBe(greedy.generation.tokens[0] === index + 32);
    });
    const [spaced, joined] = [await model.score('ab ', ['cd']), await model.score('ab', [' cd'])];
    expect(spaced).toEqual(joined);
    expect(spaced[0].isGreedy).toBe(false);
    expect(await errorCode(() => model.score('ab', ['']))).toBe('INPUT');
  });
});

it('refuses a beam search by a schema', async () => {
  await using model = await open(at('llama'));
  const search = model.generate('ab', { jsonSchema: { enum: ['a'] }, method: beamMethod(2) });
  expect(await errorCode(() => search.text())).toBe('INPUT');
});

describe('sessions', () => {
  const options = { maxTokens: 8, temperature: 0.9, seed: 2, ignoreEos: true };

  it('fork with random numbers of their own', async () => {
    await using model = await open(at('llama'));
    const session = model.session();
    await session.continue('ab', options).text();
    const next = (seed?: number) =>
      session
        .fork(seed)
        .continue('', { ...options, maxTokens: 16 })
        .text();
    const [one, other, again, kept, same] = [await next(1), await next(2), await next(1), await next(), await next()];
    expect(one).not.toBe(other);
    expect([again, same]).toEqual([one, kept]);
    for (const seed of [-1, 2 ** 32]) expect(await errorCode(() => session.fork(seed))).toBe('CONFIG');
  });

  it('go on where they ended, forked, saved and loaded', async () => {
    await using model = await open(at('llama'));
    const whole = model.generate('ab', { ...options, maxTokens: 16 });
    await whole.text();
    const session = model.session();
    await session.continue('ab', options).text();
    const fork = session.fork();
    await session.save(at('a.session'));
    await session.continue('', options).text();
    const loaded = model.session();
    await loaded.load(at('a.session'));
    await loaded.continue('', options).text();
    await fork.continue('', options).text();
    expect(session.tokens.slice(3)).toEqual(whole.generation.tokens);
    expect(loaded.tokens).toEqual(session.tokens);
    expect(fork.tokens).toEqual(session.tokens);
    expect(session.text.startsWith('ab')).toBe(true);
    expect(loaded.bytes).toBe(session.bytes);
    await using other = await open(at('gpt2'));
    expect(await errorCode(() => other.session().load(at('a.session')))).toBe('MISMATCH');
  });

  it('can be left early, and go on', async () => {
    await using model = await open(at('llama'));
    const whole = model.generate('ab', { maxTokens: 12, ignoreEos: true });
    await whole.text();
    const session = model.session();
    for await (const piece of session.continue('ab', { maxTokens: 12, ignoreEos: true })) {
      expect(await errorCode(() => session.save(at('b.session')))).toBe('INPUT');
      if (piece !== '') break;
    }
    const left = session.tokens.length;
    expect(left).toBeLessThan(15);
    await session.continue('', { maxTokens: 15 - left, ignoreEos: true }).text();
    expect(session.tokens.slice(3)).toEqual(whole.generation.tokens);
  });

  it('on a runner of others stay as they were where a loop is left, and go on', async () => {
    await using model = await open(at('llama'));
    await using runner = await model.runner();
    const greedy = { maxTokens: 8, ignoreEos: true };
    const whole = model.generate('ab', { ...greedy, maxTokens: 16 });
    await whole.text();
    const session = model.session(undefined, { runner });
    await session.continue('ab', greedy).text();
    const [before, other] = [session.tokens, model.session(undefined, { runner })];
    const left = session.run({ text: '' }, greedy);
    const beside = other.continue('xyz', greedy).text();
    for await (const event of left) if (event.type === 'tokens') break;
    await beside;
    expect(session.tokens).toEqual(before);
    await session.continue('', greedy).text();
    expect(session.tokens.slice(3)).toEqual(whole.generation.tokens);
  });

  it('of T5 read one text', async () => {
    await using model = await open(at('t5'), { kind: 'encoder-decoder' });
    const session = model.session();
    await session.continue('abc', { maxTokens: 3, ignoreEos: true }).text();
    expect(await errorCode(() => session.continue('more').text())).toBe('INPUT');
    await session.continue('', { maxTokens: 3, ignoreEos: true }).text();
    const whole = model.generate('abc', { maxTokens: 6, ignoreEos: true });
    await whole.text();
    expect(session.tokens.slice(1)).toEqual(whole.generation.tokens);
  });
});

describe('linearize', () => {
  it.each([
    ['llama', 'augmented'],
    ['bert', 'augmented'],
    ['t5', 'augmented'],
  ])('changes %s, and saves what was changed', async (name, mixer) => {
    await using model = await open(at(name), { kind: ['causal', 'encoder', 'encoder-decoder'] });
    await using changed = await model.linearize(mixer, { group: 4, kernel: 5 });
    expect(changed.kind).toBe(model.kind);
    expect(changed.fingerprint).not.toBe(model.fingerprint);
    const folder = at(`linear-${name}`);
    await changed.save(folder);
    await using reopened = await open(folder, { kind: model.kind });
    if (reopened.kind === 'encoder' || changed.kind === 'encoder') return;
    const options = { maxTokens: 6, ignoreEos: true };
    expect(await reopened.generate('ab', options).text()).toBe(await changed.generate('ab', options).text());
  });

  it('puts softmax inside groups of a softmax model, and what is asked for', async () => {
    await using model = await open(at('llama'));
    const kernels = [];
    for (const options of [{}, { localKernel: 'relu2' as const }]) {
      await using changed = await model.linearize('local', { group: 4, ...options });
      const folder = at(`local-${options.localKernel ?? 'default'}`);
      await changed.save(folder);
      kernels.push((await loadCausalModel(folder)).model.mixers[0]);
    }
    expect(kernels).toMatchObject([{ local: { kernel: 'softmax' } }, { local: { kernel: 'relu2' } }]);
  });

  it('takes a configuration and layers, and refuses parts that are not there', async () => {
    await using model = await open(at('llama'));
    await using changed = await model.linearize({ kind: 'softmax' }, { layers: [0] });
    expect(changed.family).toBe('llama');
    expect(await errorCode(() => model.linearize('nothing'))).toBe('CONFIG');
    expect(await errorCode(() => model.linearize('augmented', { attention: ['encoder'] }))).toBe('CONFIG');
  });
});

describe('chat', () => {
  it('answers by the template of the folder', async () => {
    await saveTinyModel(at('chatty'), 1);
    const file = join(at('chatty'), 'tokenizer_config.json');
    const config: unknown = JSON.parse(await readFile(file, 'utf8'));
    const template = '{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}';
    await writeFile(file, JSON.stringify(Object.assign({}, config, { chat_template: template })));
    await using model = await open(at('chatty'));
    expect(model.canChat).toBe(true);
    for (const wrong of [null, 'hi', [null], [{ content: 'ab' }]]) {
      expect(await errorCode(() => Reflect.apply(model.chat.bind(model), undefined, [wrong]))).toBe('INPUT');
    }
    const generated = model.chat([{ role: 'user', content: 'ab' }], { maxTokens: 3 });
    await generated.text();
    expect(generated.generation.promptTokens).toBe(4);
  });
});

describe('what callers without TypeScript see', () => {
  it('is refused for options that do not exist, with the ones that do', async () => {
    const wrong: object = { max_new_tokens: 3 };
    await using model = await open(at('llama'));
    expect(() => model.generate('ab', wrong)).toThrow(/"max_new_tokens"; did you mean maxTokens\?/);
    // From the call, not from the first piece: a server has not sent its headers by then.
    expect(() => model.generate('ab', { maxTokens: -3 })).toThrow(/maxTokens/);
    expect(() => model.session().continue('ab', { maxTokens: -3 })).toThrow(/maxTokens/);
    const mistyped: object = { treads: 2 };
    await expect(open(at('llama'), mistyped)).rejects.toThrow(/did you mean threads\?/);
  });

  it('is refused for prompts, options and snapshots of other kinds, and sessions stay as they were', async () => {
    await using model = await open(at('llama'));
    const session = model.session();
    await session.continue('ab', { maxTokens: 2 }).text();
    const before = session.text;
    const wrong: readonly ((given: never) => unknown)[] = [
      (given) => session.continue(given).text(),
      (given) => session.continueTokens(given).text(),
      (given) => session.continuePrompt(given).text(),
      (given) => session.continuePrompt({ text: given }).text(),
      (given) => session.continuePrompt({ tokens: given }).text(),
      (given) => session.job(given),
      (given) => session.job({ text: 'a' }, given),
      (given) => session.job({ text: 'a' }, { signal: given }),
      (given) => session.job({ text: 'a' }, { stopIds: given }),
      (given) => session.job({ text: 'a' }, { method: given }),
      (given) => session.job({ text: 'a' }, { onEvent: given }),
      (given) => session.job({ text: 'a' }, { speculate: given }),
      (given) => session.continue('a', { jsonSchema: given }),
      (given) => model.session(given),
      (given) => model.linearize('augmented', { softmaxLayers: given }),
    ];
    for (const call of wrong) {
      for (const given of [NaN, 3.5, -1, null, 10n, [-1]] as unknown as readonly never[]) {
        await expect((async () => call(given))(), `${String(call)} of ${String(given)}`).rejects.toMatchObject({
          code: 'INPUT',
        });
      }
    }
    expect(session.text).toBe(before);
  });

  it('is short where it is printed', async () => {
    await using model = await open(at('llama'));
    const generated = model.generate('ab', { maxTokens: 4, ignoreEos: true });
    expect(inspect(generated)).toBe('{ started: false }');
    await generated.text();
    for (const shown of [model, generated, generated.generation]) {
      expect(inspect(shown, { breakLength: 100 }).split('\n').length).toBeLessThan(16);
    }
    expect(JSON.parse(JSON.stringify(model))).toMatchObject({ kind: 'causal', family: 'llama' });
  });
});
