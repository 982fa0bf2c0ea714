/** Servers that share a Redis: sessions, beginnings of prompts and rates are one. */
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import type { LanguageModel } from '../../src/open/language-model.ts';
import type { RunningServer } from '../../src/serving/server.ts';
import { openSharedState } from '../../src/serving/sessions/shared-state.ts';
import { MemoryStore } from '../../src/serving/sessions/memory-store.ts';
import { openRedis } from '../../src/redis/client.ts';
import { linnet } from '../cli/captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { needsRedis, noRedis, type RunningRedis, startRedis } from './local-process.ts';
import { chatTemplate, openTiny, serve, storedModel, tinyLlamaFolder, type ServedOptions } from './served.ts';

const folder = suiteFolder();
let model: LanguageModel;
let redis: RunningRedis | undefined;
beforeAll(async () => {
  const linear = join(folder, 'linear');
  const { stderr, exitCode } = await linnet('linearize', tinyLlamaFolder, '--mixer', 'augmented', '--out', linear);
  expect(exitCode, stderr).toBe(0);
  model = await openTiny(undefined, { folder: linear });
  if (!noRedis) redis = await startRedis();
});
afterAll(async () => {
  await model[Symbol.asyncDispose]();
  await redis?.stop();
});

/** One of several servers. They share the engine, which is not a state of theirs. */
async function oneOf(options: ServedOptions = {}, served = model) {
  const warnings: string[] = [];
  const log = pino({ level: 'warn' }, { write: (line: string) => warnings.push(line) });
  const shared = await openSharedState(redis?.url ?? '', await storedModel(served), log);
  onTestFinished(() => shared.close());
  const sessions = new MemoryStore({ cold: shared.sessions, maxBytes: 1 << 20 });
  const { server, client } = await serve(served, { stores: { shared, sessions }, ...options });
  return { server, client, warnings };
}

async function call({ url }: RunningServer, method: string, path: string, body?: object, key = 'none') {
  const headers = { 'content-type': 'application/json', 'x-api-key': key };
  const response = await fetch(`${url}/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
  const text = await response.text();
  return { status: response.status, text };
}

const answerSchema = z.object({
  choices: z.array(z.object({ text: z.string() })),
  usage: z.object({ prompt_tokens_details: z.object({ cached_tokens: z.number() }) }),
});
const summarySchema = z.object({ id: z.string(), version: z.number(), position: z.number() });
const greedy = { temperature: 0, max_tokens: 10, ignore_eos: true };

async function completion(server: RunningServer, body: object, key?: string) {
  const { status, text } = await call(server, 'POST', '/completions', { ...greedy, ...body }, key);
  expect(status, text).toBe(200);
  const { choices, usage } = answerSchema.parse(JSON.parse(text));
  return { text: choices[0].text, cached: usage.prompt_tokens_details.cached_tokens };
}

async function create(server: RunningServer, prompt: string): Promise<string> {
  return summarySchema.parse(JSON.parse((await call(server, 'POST', '/sessions', { prompt })).text)).id;
}

describe.skipIf(noRedis)(`servers that share a Redis${needsRedis}`, () => {
  it('take turns on a session', async () => {
    const [{ server: a }, { server: b }] = [await oneOf(), await oneOf()];
    const id = await create(a, 'Once upon a time');
    let text = '';
    for (const server of [b, a, a, b]) text += (await completion(server, { session_id: id, prompt: '' })).text;
    expect(text).toBe((await completion(a, { prompt: 'Once upon a time', max_tokens: 40 })).text);
    const { text: described } = await call(b, 'GET', `/sessions/${id}`);
    expect(summarySchema.parse(JSON.parse(described))).toMatchObject({ version: 5 });
    expect((await call(b, 'DELETE', `/sessions/${id}`)).status).toBe(200);
    expect((await call(a, 'POST', '/completions', { ...greedy, prompt: '', session_id: id })).status).toBe(404);
  });

  it('go on from the answers of each other', async () => {
    await using chatting = await openTiny(chatTemplate);
    const [{ client }, { client: other }] = [await oneOf({}, chatting), await oneOf({}, chatting)];
    const asked = { model: 'tiny', temperature: 0, max_output_tokens: 8 };
    const first = await client.responses.create({ ...asked, input: 'Tell a story.' });
    const next = { ...asked, input: 'And then?', previous_response_id: first.id };
    const there = await other.responses.create(next);
    const here = await client.responses.create(next);
    expect(there.output_text).toBe(here.output_text);
    expect(there.usage?.input_tokens).toBe(here.usage?.input_tokens);
    expect(there.usage?.input_tokens).toBeGreaterThan(first.usage?.input_tokens ?? Infinity);
    expect(await other.responses.retrieve(first.id)).toMatchObject({ output: first.output });
    // One that was made elsewhere, and deleted elsewhere, is none for the server that still has it in memory.
    await client.responses.delete(there.id);
    await expect(other.responses.retrieve(there.id)).rejects.toMatchObject({ status: 404 });
  });

  it('let one of two writers have a turn, and tell the other', async () => {
    const [{ server: a }, { server: b }] = [await oneOf(), await oneOf()];
    const id = await create(a, 'Once upon a time');
    const turn = { ...greedy, prompt: '', session_id: id, max_tokens: 60 };
    const answers = await Promise.all([a, b, a, b].map((server) => call(server, 'POST', '/completions', turn)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409]);
    const streamed = await Promise.all(
      [a, b].map((server) => call(server, 'POST', '/completions', { ...turn, stream: true })),
    );
    const lost = streamed.filter(({ text }) => text.includes('"code":409'));
    expect([streamed.length - lost.length, lost.length]).toEqual([1, 1]);
    expect(lost[0].text).not.toContain('"finish_reason":"length"');
    const stale = { ...turn, session_version: 1 };
    expect((await call(b, 'POST', '/completions', stale)).status).toBe(409);
    expect((await call(b, 'POST', '/completions', { ...turn, session_version: 3 })).status).toBe(200);
  });

  it('read a prompt once, for each key', async () => {
    const keys = ['one', 'two'];
    const [{ server: a }, { server: b, warnings }] = [await oneOf({ http: { keys } }), await oneOf({ http: { keys } })];
    const prompt = 'Once upon a time there was a little bird that lived in a tree';
    const alone = await completion(a, { prompt }, 'one');
    expect(alone.cached).toBe(0);
    let found = await completion(b, { prompt: `${prompt} far away` }, 'one');
    for (let wait = 0; wait < 50 && found.cached === 0; wait++) {
      // What one server has read is on its way to the other.
      await new Promise((resolve) => setTimeout(resolve, 20));
      found = await completion(b, { prompt: `${prompt}${' '.repeat(wait + 1)}away` }, 'one');
    }
    expect(found.cached).toBeGreaterThan(10);
    expect((await completion(b, { prompt }, 'two')).cached).toBe(0);
    expect((await completion(b, { prompt, cache_salt: 'mine' }, 'one')).cached).toBe(0);
    const { server: c } = await oneOf({ http: { keys } });
    expect(await completion(c, { prompt }, 'one')).toMatchObject({ text: alone.text });
    expect(warnings).toEqual([]);
  });

  it('do without a beginning that is damaged', async () => {
    const prompt = 'There was a fox and there was a bear and they were friends';
    const { server: a } = await oneOf();
    const { text } = await completion(a, { prompt });
    const client = await openRedis(redis?.url ?? '');
    onTestFinished(() => {
      client.disconnect();
    });
    let keys: string[] = [];
    while (keys.length < 2) keys = await client.keys('*:prefix:*');
    for (const key of keys) {
      const bytes = (await client.hgetBuffer(key, 'bytes')) ?? Buffer.alloc(0);
      bytes[bytes.length >> 1] ^= 4;
      await client.hset(key, 'bytes', bytes);
    }
    const { server: b, warnings } = await oneOf();
    expect(await completion(b, { prompt })).toEqual({ text, cached: 0 });
    expect(warnings.join('')).toMatch(/not usable/);
  });

  it('refuse a damaged session and go on', async () => {
    const { server } = await oneOf();
    const id = await create(server, 'Once upon a time');
    const client = await openRedis(redis?.url ?? '');
    onTestFinished(() => {
      client.disconnect();
    });
    const [key] = await client.keys(`*session:anyone.${id}`);
    const bytes = (await client.hgetBuffer(key, 'bytes')) ?? Buffer.alloc(0);
    bytes[bytes.length - 100] ^= 1;
    await client.hset(key, 'bytes', bytes, 'version', 2);
    expect((await call(server, 'POST', '/completions', { ...greedy, prompt: '', session_id: id })).status).toBe(400);
    expect((await completion(server, { prompt: 'Once' })).text).not.toBe('');
  });

  it('count the requests of a key together', async () => {
    const [{ server: a }, { server: b }] = [await oneOf({ http: { rate: 3 } }), await oneOf({ http: { rate: 3 } })];
    const statuses: number[] = [];
    for (const server of [a, b, a, b, a]) statuses.push((await call(server, 'GET', '/sessions')).status);
    expect(statuses).toEqual([200, 200, 200, 429, 429]);
  });

  it('answer 503 within two seconds while Redis hangs, and go on after it', async () => {
    const { server } = await oneOf({ http: { rate: 1000 } });
    const id = await create(server, 'Once upon a time');
    const { server: other } = await oneOf();
    redis?.signal('SIGSTOP');
    try {
      const turn = { ...greedy, prompt: '', session_id: id };
      for (const [path, body] of [
        ['/completions', turn],
        ['/sessions', { prompt: 'Once' }],
      ] as const) {
        for (const asked of [server, other]) {
          const started = performance.now();
          expect((await call(asked, 'POST', path, body)).status).toBe(503);
          expect(performance.now() - started).toBeLessThan(2000);
        }
      }
      expect((await call(other, 'GET', `/sessions/${id}`)).status).toBe(503);
      expect((await call(server, 'POST', '/completions', { ...greedy, prompt: 'Once' })).status).toBe(200);
    } finally {
      redis?.signal('SIGCONT');
    }
    const after = await call(other, 'POST', '/completions', { ...greedy, prompt: '', session_id: id });
    expect([200, 409]).toContain(after.status);
  });

  it('say that Redis is away, and go on without it where they can', async () => {
    const own = await startRedis();
    const log = pino({ level: 'silent' });
    const shared = await openSharedState(own.url, await storedModel(model), log);
    onTestFinished(() => shared.close());
    const { server } = await serve(model, { stores: { shared, sessions: shared.sessions }, http: { rate: 1000 } });
    const id = await create(server, 'Once upon a time');
    await own.stop();
    expect((await call(server, 'GET', `/sessions/${id}`)).status).toBe(503);
    expect((await completion(server, { prompt: 'Once upon a time in the west' })).text).not.toBe('');
    await expect(openSharedState(own.url, await storedModel(model), log)).rejects.toMatchObject({ code: 'INPUT' });
  });
});
