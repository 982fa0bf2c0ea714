/** A classifier and an encoder, served: classes, vectors, and what they say to those who ask for texts. */
import { join } from 'node:path';
import OpenAI from 'openai';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { startClassifier } from '../../src/checkpoint/load-classifier.ts';
import { saveModel } from '../../src/checkpoint/load-model.ts';
import { open } from '../../src/open/index.ts';
import type { Listening } from '../../src/serving/listen.ts';
import { openedKinds } from '../../src/open/opened-model.ts';
import type { Classifier, Encoder } from '../../src/open/readers.ts';
import { type EncoderServerOptions, startEncoderServer } from '../../src/serving/encoders/encoder-server.ts';
import { TextLine } from '../../src/serving/encoders/text-line.ts';
import { runCaptured } from '../cli/captured-cli.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { openTiny, serve as serveWriting } from './served.ts';

const place = suiteFolder();
const at = (name: string): string => join(place, name);
const labels = ['good', 'bad', 'odd'];
const models = new Map<string, Classifier | Encoder>();

beforeAll(async () => {
  for (const family of ['llama', 'bert', 't5']) {
    await saveTinyModel(at(family), 1, family);
    const classifier = await startClassifier(at(family), labels, 3);
    await saveModel(at(`${family}-classes`), classifier, { tokenizerFiles: { from: at(family) } });
  }
  const regression = await startClassifier(at('bert'), ['number'], 3);
  await saveModel(at('regression'), regression, { tokenizerFiles: { from: at('bert') } });
  for (const name of ['bert', 'llama-classes', 'bert-classes', 't5-classes', 'regression']) {
    models.set(name, await open(at(name), { kind: ['classifier', 'encoder'], name, threads: 1 }));
  }
});
afterAll(async () => {
  for (const model of models.values()) await model[Symbol.asyncDispose]();
});

async function isReading(name: string): Promise<boolean> {
  await using model = await open(at(name), { kind: openedKinds, name, threads: 1 });
  return model.kind === 'encoder' || model.kind === 'classifier';
}

function opened(name: string): Classifier | Encoder {
  const model = models.get(name);
  if (model === undefined) throw new Error(`no model ${name}`);
  return model;
}

async function serve(name: string, http: Partial<EncoderServerOptions['http']> = {}): Promise<Listening> {
  const log = pino({ enabled: false });
  const server = await startEncoderServer(opened(name), { http: { port: 0, log, ...http } });
  onTestFinished(() => server.drain());
  return server;
}

async function post({ url }: Listening, path: string, body: unknown): Promise<{ status: number; json: unknown }> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: response.status, json: await response.json() };
}

const classes = z.object({
  object: z.literal('list'),
  model: z.string(),
  data: z.array(z.object({ index: z.int(), label: z.string(), probs: z.array(z.number()), num_classes: z.int() })),
  usage: z.object({ prompt_tokens: z.int(), total_tokens: z.int() }),
});
const predictions = z.array(z.object({ label: z.string(), score: z.number() }));

describe('classes', () => {
  it.each(['llama-classes', 'bert-classes', 't5-classes'])(
    'are those of the library, of one text or many: %s',
    async (name) => {
      const server = await serve(name);
      await using model = await open(at(name), { kind: 'classifier', threads: 1 });
      const texts = ['ab', 'a longer text of two words and more, beyond the first length'];
      const expected = await Promise.all(texts.map((text) => model.classify(text)));
      const answer = classes.parse((await post(server, '/classify', { model: name, input: texts })).json);
      expect(answer.data.map(({ label }) => label)).toEqual(expected.map(({ label }) => label));
      answer.data.forEach(({ probs }, index) => {
        expect(probs).toEqual(expected[index].classes.map(({ probability }) => probability));
      });
      const one = classes.parse((await post(server, '/v1/classify', { input: texts[0] })).json);
      expect(one.data).toEqual([answer.data[0]]);
      expect(one.usage.prompt_tokens).toBeLessThan(answer.usage.prompt_tokens);
      const predicted = predictions.parse((await post(server, '/predict', { inputs: texts[0] })).json);
      expect(predicted[0]).toEqual({ label: expected[0].label, score: expected[0].probability });
      expect(predicted.map(({ score }) => score)).toEqual(predicted.map(({ score }) => score).sort((a, b) => b - a));
    },
  );

  it('are of pairs too, and raw where asked', async () => {
    const server = await serve('bert-classes');
    await using model = await open(at('bert-classes'), { kind: 'classifier', threads: 1 });
    const { classes: expected } = await model.classify('one', 'two');
    const byScore = [...expected].sort((a, b) => b.probability - a.probability).map(({ label }) => label);
    const pair = predictions.parse((await post(server, '/predict', { inputs: ['one', 'two'] })).json);
    expect(pair.map(({ label }) => label)).toEqual(byScore);
    const batch = z
      .array(predictions)
      .parse((await post(server, '/predict', { inputs: [['one', 'two'], ['one']] })).json);
    expect(batch[0]).toEqual(pair);
    expect(batch[1]).not.toEqual(pair);
    const raw = predictions.parse((await post(server, '/predict', { inputs: ['one', 'two'], raw_scores: true })).json);
    expect(Math.exp(raw[0].score - raw[1].score)).toBeCloseTo(pair[0].score / pair[1].score, 4);
  });

  it('are a number, of a regression head', async () => {
    const server = await serve('regression');
    await using model = await open(at('regression'), { kind: 'classifier', threads: 1 });
    const { value } = await model.classify('ab');
    expect((await post(server, '/classify', { input: 'ab' })).json).toMatchObject({
      data: [{ value, num_classes: 1 }],
    });
    expect((await post(server, '/predict', { inputs: 'ab' })).json).toEqual([{ label: 'number', score: value }]);
  });

  it('are refused for texts that are empty or too long, which may be cut', async () => {
    const server = await serve('llama-classes', { limits: { textTokens: 10 } });
    const long = { input: 'abcdefghijklmnop' };
    const refused = await post(server, '/classify', long);
    expect(refused).toMatchObject({ status: 400, json: { error: { type: 'exceed_context_size_error', n_ctx: 10 } } });
    const cut = classes.parse((await post(server, '/classify', { ...long, truncate: true })).json);
    expect(cut.usage.prompt_tokens).toBe(10);
    expect(await post(server, '/classify', { input: [] })).toMatchObject({
      status: 400,
      json: { error: { param: 'input' } },
    });
    expect(await post(server, '/predict', { inputs: ['a', 'b', 'c'] })).toMatchObject({ status: 400 });
    expect(await post(server, '/classify', { input: 'a', model: 'other' })).toMatchObject({ status: 404 });
  });
});

describe('embeddings', () => {
  it.each(['bert', 'bert-classes', 'llama-classes', 't5-classes'])(
    'are vectors of length 1, as numbers or base64: %s',
    async (name) => {
      const server = await serve(name);
      const client = new OpenAI({ apiKey: 'none', baseURL: `${server.url}/v1`, maxRetries: 0 });
      const input = ['ab', 'something else'];
      const floats = await client.embeddings.create({ model: name, input, encoding_format: 'float' });
      const packed = await client.embeddings.create({ model: name, input });
      expect(floats.data.map(({ embedding }) => embedding.length)).toEqual([16, 16]);
      floats.data.forEach(({ embedding }, index) => {
        expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
        expect(embedding).toEqual(Array.from(packed.data[index].embedding));
      });
      expect(floats.data[0].embedding).not.toEqual(floats.data[1].embedding);
    },
  );

  it('of a classifier are those of the causal model whose backbone it has', async () => {
    await using causal = await openTiny(undefined, { folder: at('llama') });
    const { client } = await serveWriting(causal);
    const own = await client.embeddings.create({ model: 'tiny', input: 'some text', encoding_format: 'float' });
    const server = await serve('llama-classes');
    const other = new OpenAI({ apiKey: 'none', baseURL: `${server.url}/v1`, maxRetries: 0 });
    const answer = await other.embeddings.create({
      model: 'llama-classes',
      input: 'some text',
      encoding_format: 'float',
    });
    answer.data[0].embedding.forEach((value, index) => {
      expect(value).toBeCloseTo(own.data[0].embedding[index], 5);
    });
  });
});

describe('what such a model is', () => {
  it('is said to those who ask for texts or for what the kind has not', async () => {
    const server = await serve('bert');
    const client = new OpenAI({ apiKey: 'none', baseURL: `${server.url}/v1`, maxRetries: 0 });
    const message: unknown = expect.stringContaining('/v1/embeddings');
    const error = { status: 501, type: 'not_supported_error', error: expect.objectContaining({ message }) as unknown };
    await expect(client.completions.create({ model: 'bert', prompt: 'x' })).rejects.toMatchObject(error);
    const chat = client.chat.completions.create({ model: 'bert', messages: [{ role: 'user', content: 'x' }] });
    await expect(chat).rejects.toMatchObject(error);
    await expect(client.responses.create({ model: 'bert', input: 'x' })).rejects.toMatchObject(error);
    for (const path of ['/classify', '/predict', '/completion', '/v1/sessions', '/apply-template']) {
      expect((await post(server, path, { input: 'x', inputs: 'x' })).status).toBe(501);
    }
    expect((await fetch(`${server.url}/v1/sessions`)).status).toBe(501);
  });

  it('is in the lists and documents of the API', async () => {
    const server = await serve('llama-classes');
    const get = async (path: string): Promise<unknown> => (await fetch(server.url + path)).json();
    const [model] = z.object({ data: z.array(z.unknown()) }).parse(await get('/v1/models')).data;
    expect(model).toMatchObject({ id: 'llama-classes', meta: { kind: 'classifier', labels, regression: false } });
    const { paths } = z.object({ paths: z.record(z.string(), z.unknown()) }).parse(await get('/openapi.json'));
    expect(Object.keys(paths)).toEqual(expect.arrayContaining(['/classify', '/predict', '/v1/embeddings', '/health']));
    expect(Object.keys(paths)).not.toContain('/v1/completions');
    expect((await post(server, '/tokenize', { content: 'ab' })).json).toMatchObject({ count: 2 });
    expect(await get('/props')).toMatchObject({ max_input_length: 64 });
    expect(await (await fetch(`${server.url}/metrics`)).text()).toContain('linnet_prompt_tokens_total');
  });

  it('is seen in the folder', async () => {
    const found = await Promise.all(['llama', 't5', 'bert', 'bert-classes'].map(isReading));
    expect(found).toEqual([false, false, true, true]);
  });

  it('refuses options of models that write', async () => {
    const { exitCode, stderr } = await runCaptured(['serve', at('bert'), '--port', '0', '--tool-format', 'hermes']);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('--tool-format needs');
  });
});

describe('the line', () => {
  it('refuses what is beyond its length, cancels what waits, and closes behind the last', async () => {
    const line = new TextLine(2);
    const gone = new AbortController();
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const order: string[] = [];
    const first = line.enter(() => line.turn(() => held.then(() => order.push('first')), new AbortController().signal));
    const second = line.enter(() => line.turn(() => Promise.resolve(order.push('second')), gone.signal));
    await expect(line.enter(() => Promise.resolve())).rejects.toMatchObject({ reason: 'full' });
    gone.abort();
    const closed = line.close().then(() => order.push('closed'));
    await expect(line.enter(() => Promise.resolve())).rejects.toMatchObject({ reason: 'closing' });
    release();
    await first;
    await expect(second).rejects.toMatchObject({ code: 'ABORTED' });
    await closed;
    expect(order).toEqual(['first', 'closed']);
  });
});
