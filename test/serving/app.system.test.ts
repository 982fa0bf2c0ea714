/** Around the endpoints: methods, pages of other sites, names of the model, the log, many prompts in one request. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import type { LanguageModel } from '../../src/open/language-model.ts';
import type { RunningServer } from '../../src/serving/server.ts';
import { openTiny, serve } from './served.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await openTiny();
});
afterAll(() => model[Symbol.asyncDispose]());

function post({ url }: RunningServer, body: object): Promise<Response> {
  const headers = { 'content-type': 'application/json' };
  return fetch(`${url}/v1/completions`, { method: 'POST', headers, body: JSON.stringify(body) });
}

it('names the methods of an address that is asked by another one', async () => {
  const { server } = await serve(model);
  const answer = await fetch(`${server.url}/v1/completions`, { method: 'PUT' });
  expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'POST']);
  expect(await answer.json()).toMatchObject({ error: { type: 'method_not_allowed_error', code: 405 } });
  const session = await fetch(`${server.url}/v1/sessions/none`, { method: 'PATCH' });
  expect([session.status, session.headers.get('allow')]).toEqual([405, 'GET, HEAD, DELETE']);
  expect((await fetch(`${server.url}/v1/completion`, { method: 'PUT' })).status).toBe(404);
  const withoutVersion = await fetch(`${server.url}/chat/completions`, { method: 'POST' });
  const message = "there is no POST /chat/completions here; end the client's base URL with /v1";
  expect([withoutVersion.status, await withoutVersion.json()]).toMatchObject([404, { error: { message } }]);
});

it('lets pages of an origin that was named use all of the API, without credentials', async () => {
  const { server } = await serve(model, { http: { origins: ['https://example.org'] } });
  const asked = {
    'access-control-request-method': 'DELETE',
    'access-control-request-headers': 'authorization,x-api-key',
  };
  const headers = { origin: 'https://example.org', ...asked };
  const preflight = await fetch(`${server.url}/v1/sessions/a`, { method: 'OPTIONS', headers });
  const allowed = (name: string): string | null => preflight.headers.get(`access-control-allow-${name}`);
  expect(preflight.status).toBe(204);
  expect([allowed('origin'), allowed('methods')]).toEqual(['https://example.org', 'GET,POST,PUT,DELETE']);
  expect([allowed('headers'), allowed('credentials')]).toEqual(['authorization,x-api-key', null]);
});

it('answers to each of its names, and lists them', async () => {
  const { server } = await serve(model, { http: { aliases: ['gpt-4', 'small'] } });
  const list = z.object({ data: z.array(z.object({ id: z.string() })) });
  const { data } = list.parse(await (await fetch(`${server.url}/v1/models`)).json());
  expect(data.map(({ id }) => id)).toEqual(['tiny', 'gpt-4', 'small']);
  const answer = await post(server, { model: 'gpt-4', prompt: 'Once', max_tokens: 1 });
  expect(await answer.json()).toMatchObject({ model: 'gpt-4' });
  expect(await (await post(server, { prompt: 'Once', max_tokens: 1 })).json()).toMatchObject({ model: 'tiny' });
  expect((await post(server, { model: 'gpt-5', prompt: 'Once', max_tokens: 1 })).status).toBe(404);
  expect((await fetch(`${server.url}/v1/models/small`)).status).toBe(200);
  const other = await fetch(`${server.url}/v1/models/owner/other`);
  const message = 'there is no model "owner/other" here; this is "tiny"';
  expect([other.status, await other.json()]).toMatchObject([404, { error: { message, param: 'model' } }]);
});

it('answers to any name where it is told to, in whole answers, streams and vectors', async () => {
  const { server } = await serve(model, { http: { anyModel: true } });
  const answer = await post(server, { model: 'gpt-5', prompt: 'Once', max_tokens: 1 });
  expect(await answer.json()).toMatchObject({ model: 'gpt-5' });
  const stream = await post(server, { model: 'gpt-5', prompt: 'Once', max_tokens: 1, stream: true });
  expect((await stream.text()).match(/"model":"[^"]*"/g)).toEqual(['"model":"gpt-5"', '"model":"gpt-5"']);
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify({ model: 'embedder', input: 'Once' });
  const vector = await fetch(`${server.url}/v1/embeddings`, { method: 'POST', headers, body });
  expect(await vector.json()).toMatchObject({ model: 'embedder' });
  expect(await (await fetch(`${server.url}/v1/models/gpt-5`)).json()).toMatchObject({ id: 'gpt-5' });
});

it('logs requests, but not that somebody looked whether it lives', async () => {
  const { server, logged } = await serve(model);
  for (const path of ['/health', '/v1/health', '/v1/models']) await fetch(server.url + path);
  expect(logged).toHaveLength(1);
});

it('lets a request with more prompts than wait at a time wait as one', async () => {
  const { server } = await serve(model, { runner: { parallel: 2, maxQueue: 1 } });
  const prompts = Array.from({ length: 100 }, (_, i) => `Once ${i}`);
  const answer = await post(server, { prompt: prompts, max_tokens: 1 });
  expect(answer.status).toBe(200);
  const { choices } = z.object({ choices: z.array(z.object({ index: z.number() })) }).parse(await answer.json());
  expect(choices.map(({ index }) => index)).toEqual(prompts.map((_, i) => i));
  const tooMany = Array.from({ length: 257 }, () => 'Once');
  expect((await post(server, { prompt: tooMany, max_tokens: 1 })).status).toBe(400);
});
