/** Sessions: texts that go on, are forked, leave as files and come back, on this server or another. */
import { readdirSync, readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { restoreSession, saveSession } from '../../src/decoding/state/session-file.ts';
import { sessionTensors } from '../../src/decoding/state/session-tensors.ts';
import { open } from '../../src/open/index.ts';
import type { LanguageModel } from '../../src/open/language-model.ts';
import type { RunningServer } from '../../src/serving/server.ts';
import { folderStore } from '../../src/serving/sessions/folder-store.ts';
import { linnet } from '../cli/captured-cli.ts';
import { scratchFolder, suiteFolder } from '../scratch-folder.ts';
import { chatTemplate, openTiny, serve, storedModel, tinyLlamaFolder } from './served.ts';

const folder = suiteFolder();
let model: LanguageModel;
beforeAll(async () => {
  const linear = join(folder, 'linear');
  const { stderr, exitCode } = await linnet('linearize', tinyLlamaFolder, '--mixer', 'augmented', '--out', linear);
  expect(exitCode, stderr).toBe(0);
  model = await openTiny(chatTemplate, { folder: linear });
});
afterAll(() => model[Symbol.asyncDispose]());

const summarySchema = z.object({ id: z.string(), position: z.number(), state_bytes: z.number(), version: z.number() });
const answerSchema = z.object({
  choices: z.array(z.object({ text: z.string().optional() })),
  usage: z.object({ prompt_tokens: z.number(), prompt_tokens_details: z.object({ cached_tokens: z.number() }) }),
});

async function call(server: RunningServer, method: string, path: string, body?: object, key = 'none') {
  const response = await fetch(`${server.url}/v1${path}`, {
    method,
    headers: { 'content-type': 'application/json', 'x-api-key': key },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const json: unknown = await response.json();
  return { status: response.status, json };
}

async function create(server: RunningServer, prompt: string): Promise<string> {
  const { status, json } = await call(server, 'POST', '/sessions', { prompt });
  expect(status).toBe(201);
  return summarySchema.parse(json).id;
}

const greedy = { temperature: 0, max_tokens: 12, ignore_eos: true };

async function turn(server: RunningServer, id: string, prompt = '', more: object = {}): Promise<string> {
  const { status, json } = await call(server, 'POST', '/completions', { ...greedy, prompt, session_id: id, ...more });
  expect(status, JSON.stringify(json)).toBe(200);
  return answerSchema.parse(json).choices[0].text ?? '';
}

async function whole(server: RunningServer, prompt: string, tokens: number): Promise<string> {
  const { json } = await call(server, 'POST', '/completions', { ...greedy, prompt, max_tokens: tokens });
  return answerSchema.parse(json).choices[0].text ?? '';
}

describe('sessions', () => {
  it('go on where they were, reading only what is new', async () => {
    const { server } = await serve(model, { stores: { cacheBytes: 0 } });
    const id = await create(server, 'Once upon a time');
    expect((await turn(server, id)) + (await turn(server, id))).toBe(await whole(server, 'Once upon a time', 24));
    const { json } = await call(server, 'POST', '/completions', { ...greedy, prompt: ' And then', session_id: id });
    const { usage } = answerSchema.parse(json);
    expect(usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens).toBeLessThan(8);
    const { json: described } = await call(server, 'GET', `/sessions/${id}`);
    expect(summarySchema.parse(described).position).toBe(usage.prompt_tokens + 12);
  });

  it('fork: each goes its own way, and the same way where nothing differs', async () => {
    const { server } = await serve(model);
    const id = await create(server, 'Once upon a time');
    const first = await turn(server, id);
    const { json } = await call(server, 'POST', `/sessions/${id}/fork`, { count: 2 });
    const [a, b] = z
      .object({ data: z.array(summarySchema) })
      .parse(json)
      .data.map((fork) => fork.id);
    const other = await turn(server, a, ' But');
    expect(await turn(server, b)).toBe((await whole(server, 'Once upon a time', 24)).slice(first.length));
    expect(await turn(server, id, ' But')).toBe(other);
  });

  it('leave as files, come back on another server, and are deleted', async () => {
    const { server } = await serve(model);
    const id = await create(server, 'Once upon a time');
    const first = await turn(server, id);
    const bytes = new Uint8Array(await (await fetch(`${server.url}/v1/sessions/${id}/state`)).arrayBuffer());
    const { server: second } = await serve(model);
    const put = (path: string, method: string, body: Uint8Array<ArrayBuffer>): Promise<Response> =>
      fetch(`${second.url}/v1/sessions/${path}`, {
        method,
        body,
        headers: { 'content-type': 'application/octet-stream' },
      });
    expect((await put('moved/state', 'PUT', bytes)).status).toBe(201);
    const imported = summarySchema.parse(await (await put('import', 'POST', bytes)).json());
    const expected = (await whole(server, 'Once upon a time', 24)).slice(first.length);
    for (const moved of ['moved', imported.id]) expect(await turn(second, moved)).toBe(expected);
    expect((await call(second, 'DELETE', '/sessions/moved')).json).toMatchObject({ deleted: true });
    expect((await call(second, 'GET', '/sessions/moved')).status).toBe(404);
    expect((await call(second, 'GET', '/sessions')).json).toMatchObject({ data: [imported.id] });
  });

  it.each([
    ['augmented', '', 3e38, 400, undefined],
    ['augmented', '', -3e38, 400, undefined],
    ['augmented', '', 2 ** 40, 201, 200],
    // The root of a sum of squares.
    ['window', 'sums', -1, 201, 400],
    ['gated-delta', '', 2 ** 40, 201, 400],
  ])('that were made up are no failure of the server: %s, %s of %d', async (mixer, part, value, taken, turned) => {
    await using original = await openTiny();
    await using linear = await original.linearize(mixer);
    const { server, logged } = await serve(linear);
    const id = await create(server, 'Once upon a time');
    const { engine, fingerprint } = await storedModel(linear);
    const path = join(await scratchFolder(), 'forged');
    await writeFile(path, new Uint8Array(await (await fetch(`${server.url}/v1/sessions/${id}/state`)).arrayBuffer()));
    const session = await restoreSession(path, engine, fingerprint);
    const { model: described, layout, length } = session.state;
    for (const { name, of } of sessionTensors(described, layout, length, 0)) {
      const values = of(session.state);
      if (values instanceof Float32Array && name.startsWith(part)) values.fill(value);
    }
    await saveSession(path, { ...session, fingerprint });
    const headers = { 'content-type': 'application/octet-stream' };
    const body = new Uint8Array(await readFile(path));
    const { status } = await fetch(`${server.url}/v1/sessions/forged/state`, { method: 'PUT', body, headers });
    expect(status).toBe(taken);
    const asked = { ...greedy, prompt: ' And' };
    if (turned !== undefined) {
      const { status, json } = await call(server, 'POST', '/completions', { ...asked, session_id: 'forged' });
      expect(status, JSON.stringify(json)).toBe(turned);
      const chat = { ...greedy, messages: [{ role: 'user', content: 'x' }] };
      expect((await call(server, 'POST', '/chat/completions', { ...chat, session_id: 'forged' })).status).toBeLessThan(
        500,
      );
    }
    // No beginning of the prompt was kept from it.
    expect((await call(server, 'POST', '/completions', { ...asked, prompt: 'Once upon a time And' })).status).toBe(200);
    expect(logged.join('')).not.toContain('request failed');
  });

  it('are of one precision: a file of a session with 8-bit weights goes on with these alone', async () => {
    const path = join(await scratchFolder(), 'eight.session');
    const linear = join(folder, 'linear');
    await using eight = await open(linear, { name: 'tiny', threads: 1, dtype: 'w8a8' });
    const session = eight.session();
    await session.continue('Once upon a time', { maxTokens: 3 }).text();
    await session.save(path);
    const statuses: number[] = [];
    for (const taken of [eight, model]) {
      const { server } = await serve(taken);
      const headers = { 'content-type': 'application/octet-stream' };
      const put = { method: 'PUT', body: readFileSync(path), headers };
      statuses.push((await fetch(`${server.url}/v1/sessions/eight/state`, put)).status);
    }
    expect(statuses).toEqual([201, 400]);
  });

  it('that are damaged are refused, whichever byte it is', async () => {
    const { server } = await serve(model, { http: { limits: { sessionBytes: 1 << 20 } } });
    const id = await create(server, 'Once');
    const bytes = new Uint8Array(await (await fetch(`${server.url}/v1/sessions/${id}/state`)).arrayBuffer());
    const put = async (body: Uint8Array<ArrayBuffer>): Promise<number> => {
      const headers = { 'content-type': 'application/octet-stream' };
      return (await fetch(`${server.url}/v1/sessions/${id}/state`, { method: 'PUT', body, headers })).status;
    };
    for (let round = 0; round < 40; round++) {
      const damaged = bytes.slice();
      damaged[(round * 7919) % (round < 20 ? 600 : bytes.length)] ^= 1 << (round % 8);
      expect(await put(damaged)).toBe(400);
      expect(await put(bytes.slice(0, (round * 7919) % bytes.length))).toBe(400);
    }
    expect(await put(new Uint8Array((1 << 20) + 1))).toBe(413);
    // Refused at its first bytes, while most of it is still to be sent.
    const { server: large } = await serve(model);
    const headers = { 'content-type': 'application/octet-stream' };
    const refused = await fetch(`${large.url}/v1/sessions/import`, {
      method: 'POST',
      body: new Uint8Array(64 << 20),
      headers,
    });
    expect(refused.status).toBe(400);
    expect(await turn(server, id)).toBe(await whole(server, 'Once', 12));
  });

  it('in a folder outlive the server', async () => {
    const kept = join(await scratchFolder(), 'sessions');
    const sessions = await folderStore(kept, await storedModel(model));
    const { server } = await serve(model, { stores: { sessions }, runner: { drafter: 'recycle' } });
    const id = await create(server, 'Once upon a time');
    const first = await turn(server, id);
    await server.drain();
    const { server: next } = await serve(model, { stores: { sessions } });
    expect(first + (await turn(next, id))).toBe(await whole(next, 'Once upon a time', 24));
    expect(readdirSync(kept, { recursive: true })).toEqual([`anyone.${id}`, join(`anyone.${id}`, '3.session')]);
    // What drafters have learned goes on too, and not to clients, since it comes from all texts of a key.
    const learned = '"learned.successors"';
    expect(readFileSync(join(kept, `anyone.${id}`, '3.session'), 'latin1')).toContain(learned);
    const exported = await fetch(`${next.url}/v1/sessions/${id}/state`);
    expect(Buffer.from(await exported.arrayBuffer()).toString('latin1')).not.toContain(learned);
  });

  it('are of one key, take one turn at a time, and keep what they were where a turn is cancelled', async () => {
    const { server } = await serve(model, { http: { keys: ['one', 'two'] } });
    const { json } = await call(server, 'POST', '/sessions', { prompt: 'Once upon a time' }, 'one');
    const { id } = summarySchema.parse(json);
    expect((await call(server, 'GET', `/sessions/${id}`, undefined, 'two')).status).toBe(404);
    expect((await call(server, 'POST', '/completions', { ...greedy, session_id: id }, 'two')).status).toBe(404);
    const controller = new AbortController();
    const running = await fetch(`${server.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': 'one' },
      body: JSON.stringify({ ...greedy, max_tokens: 100_000, stream: true, session_id: id }),
      signal: controller.signal,
    });
    expect((await call(server, 'POST', '/completions', { ...greedy, session_id: id }, 'one')).status).toBe(409);
    expect((await call(server, 'DELETE', `/sessions/${id}`, undefined, 'one')).status).toBe(409);
    controller.abort();
    await running.body?.cancel().catch(() => undefined);
    while (server.runner.active > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const { json: after } = await call(server, 'GET', `/sessions/${id}`, undefined, 'one');
    expect(after).toEqual(json);
    expect((await call(server, 'POST', '/completions', { ...greedy, session_id: id }, 'one')).status).toBe(200);
  });

  it('hold the state of a chat whose client sends all of it', async () => {
    const { server, client } = await serve(model, { stores: { cacheBytes: 0 } });
    const user = { role: 'user' as const, content: 'Tell a story.' };
    const { json } = await call(server, 'POST', '/sessions', { messages: [user] });
    const { id, position } = summarySchema.parse(json);
    const body = { model: 'tiny', messages: [user], temperature: 0, max_completion_tokens: 8, session_id: id };
    const first = await client.chat.completions.create(body);
    expect(first.usage?.prompt_tokens_details?.cached_tokens).toBe(position - 1);
    const { session_id: _, ...alone } = body;
    const plain = await client.chat.completions.create(alone);
    expect(plain.choices).toEqual(first.choices);
  });

  it('have ids and counts within bounds', async () => {
    const { server } = await serve(model);
    const id = await create(server, 'Once');
    expect((await call(server, 'GET', '/sessions/..%2f..%2fetc')).status).toBe(400);
    expect((await call(server, 'POST', `/sessions/${id}/fork`, { count: 1000 })).status).toBe(400);
    expect((await call(server, 'POST', '/sessions', {})).status).toBe(400);
    expect((await call(server, 'POST', '/sessions', { prompt: 'x', ttl: 0 })).status).toBe(400);
    expect((await call(server, 'POST', '/completions', { ...greedy, session_id: id, n: 2 })).status).toBe(400);
    expect((await call(server, 'POST', '/completions', { ...greedy, session_id: 'nothing' })).status).toBe(404);
  });
});
