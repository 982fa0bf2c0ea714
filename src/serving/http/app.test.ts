/** An API without a socket or a model that runs: the time of a request, names of models in addresses. */
import { pino } from 'pino';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { letters } from '../../../test/models/letters.ts';
import { tinyLlama } from '../../../test/models/tiny-llama.ts';
import { LanguageModel } from '../../open/language-model.ts';
import { surroundings } from '../server.ts';
import { createApi } from './app.ts';
import { dataFraming, eventStream } from './dialects/event-stream.ts';
import type { TokenServing } from './request-context.ts';
import type { ApiRequest, Route } from './route.ts';

/** Seconds of no other timer. */
const timeout = 4321;

function apiOf(routes: readonly Route<TokenServing>[], aliases: readonly string[] = []) {
  const log = pino({ enabled: false });
  const description = tinyLlama([{ kind: 'softmax' }]);
  const about = { name: 'tiny', origin: 'tiny', fingerprint: '', tokenizer: letters };
  const model = new LanguageModel(description, { ...about, engine: () => expect.unreachable() });
  const serving = { ...surroundings({ log, aliases, limits: { timeout } }), model };
  return createApi<TokenServing>(serving, {
    ...{ summary: '', routes, refused: { paths: [], why: '' } },
    meta: () => ({}),
    load: () => 0,
    longest: () => 0,
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
