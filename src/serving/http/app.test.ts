/** An API without a socket or a model that runs: the time of a request, names of models in addresses. */
import { pino } from 'pino';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { letters } from '../../../test/models/letters.ts';
import { tinyLlama } from '../../../test/models/tiny-llama.ts';
import { LanguageModel } from '../../open/language-model.ts';
import { type HttpOptions, surroundings } from '../server.ts';
import { createApi } from './app.ts';
import { dataFraming, eventStream } from './dialects/event-stream.ts';
import type { TokenServing } from './request-context.ts';
import type { ApiRequest, Route } from './route.ts';

/** Seconds of no other timer. */
const timeout = 4321;

function apiOf(
  routes: readonly Route<TokenServing>[],
  aliases: readonly string[] = [],
  { log = pino({ enabled: false }), ...options }: Partial<HttpOptions> = {},
) {
  const description = tinyLlama([{ kind: 'softmax' }]);
  const about = { name: 'tiny', origin: 'tiny', fingerprint: '', tokenizer: letters };
  const model = new LanguageModel(description, { ...about, engine: () => expect.unreachable() });
  const serving = { ...surroundings({ ...options, log, aliases, limits: { timeout } }), model, contextSize: 0 };
  return createApi<TokenServing>(serving, {
    summary: '',
    routes,
    refused: { paths: [], why: '' },
    meta: () => ({}),
    load: () => 0,
    properties: () => ({}),
  });
}

async function* pieces(): AsyncGenerator<string, void, undefined> {
  yield await Promise.resolve('data: a\n\n');
  yield 'data: b\n\n';
}

describe('the time of a request', () => {
  it.each([
    ['whole', () => Response.json({})],
    ['refused', () => Promise.reject(new Error('no'))],
    ['a stream', (request: ApiRequest) => eventStream(pieces(), request.abort, dataFraming, {})],
  ])('runs no more when the answer is there: %s', async (_, answer) => {
    const [started, cleared] = [vi.spyOn(globalThis, 'setTimeout'), vi.spyOn(globalThis, 'clearTimeout')];
    onTestFinished(() => {
      vi.restoreAllMocks();
    });
    let seen: ApiRequest | undefined;
    const path = '/asked';
    const api = apiOf([{ method: 'get', path, summary: '', answer: (_serving, request) => answer((seen = request)) }]);
    const response = await api.request(path);
    const timer: unknown = started.mock.results[started.mock.calls.findIndex(([, ms]) => ms === timeout * 1000)]?.value;
    expect(timer).toBeDefined();
    if (response.headers.get('content-type')?.startsWith('text/') === true) {
      expect(seen?.abort.signal.aborted).toBe(false);
    }
    await response.text();
    expect(seen?.abort.signal.aborted).toBe(true);
    expect(cleared).toHaveBeenCalledWith(timer);
  });
});

it.each(['/v1/models/meta-llama/Llama-3', '/v1/models/meta-llama%2FLlama-3'])('knows a model by %s', async (path) => {
  const response = await apiOf([], ['meta-llama/Llama-3']).request(path);
  expect(await response.json()).toMatchObject({ id: 'meta-llama/Llama-3' });
});

describe('pages of other sites', () => {
  const route: Route<TokenServing> = { method: 'post', path: '/erase', summary: '', answer: () => Response.json({}) };
  const status = async (headers: Record<string, string>, options: Partial<HttpOptions> = {}): Promise<number> => {
    const sent = { host: 'localhost:8080', ...headers };
    return (await apiOf([route], [], options).request('/erase', { method: 'POST', headers: sent })).status;
  };
  const keyed = { keys: ['k'] };
  const key = { authorization: 'Bearer k' };

  it.each([
    ['no origin', {}, {}, 200],
    ['its own page', { origin: 'http://localhost:8080', 'sec-fetch-site': 'same-origin' }, {}, 200],
    ['its own page, in capitals', { origin: 'http://localhost:8080', host: 'LOCALHOST:8080' }, {}, 200],
    ['another site', { origin: 'https://evil.example' }, {}, 403],
    ['another port', { origin: 'http://localhost:3000' }, {}, 403],
    ['a file', { origin: 'null' }, {}, 403],
    ['another site by the word of the browser', { 'sec-fetch-site': 'cross-site' }, {}, 403],
    ['another site, with a key', { ...key, 'sec-fetch-site': 'cross-site', origin: 'https://a.example' }, keyed, 403],
    [
      'a page behind a proxy, with a key',
      { ...key, 'sec-fetch-site': 'same-origin', origin: 'https://b.example' },
      keyed,
      200,
    ],
    [
      'an origin that may ask',
      { origin: 'https://a.example', 'sec-fetch-site': 'cross-site' },
      { origins: ['https://a.example'] },
      200,
    ],
    [
      'any origin, where all may ask',
      { origin: 'https://a.example', 'sec-fetch-site': 'cross-site' },
      { origins: ['*'] },
      200,
    ],
  ])('may not change anything: %s', async (_, headers, options, expected) => {
    expect(await status(headers, options)).toBe(expected);
  });
});

it('clients that vanish are no errors of the server in its log', async () => {
  const lines: string[] = [];
  const log = pino({}, { write: (line: string) => lines.push(line) });
  const gone = Object.assign(new Error('aborted'), { code: 'ECONNRESET' });
  const route = (error: Error): Route<TokenServing> => {
    return { method: 'post', path: '/take', summary: '', answer: () => Promise.reject(error) };
  };
  const levels = async (error: Error): Promise<(string | undefined)[]> => {
    lines.length = 0;
    await apiOf([route(error)], [], { log }).request('/take', { method: 'POST' });
    return lines.map((line) => /"level":(\d+)/.exec(line)?.[1]);
  };
  expect(await levels(gone)).toEqual(['30']);
  expect(await levels(new Error('broken'))).toEqual(['50', '30']);
});
