/** Bodies over real sockets: none, in chunks without a length, and several requests on a connection. */
import { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { queryObjects } from 'node:v8';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LanguageModel } from '../../src/open/language-model.ts';
import type { RunningServer } from '../../src/serving/server.ts';
import { openTiny, serve } from './served.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await openTiny();
});
afterAll(() => model[Symbol.asyncDispose]());

const host = 'Host: localhost\r\n';
const close = 'Connection: close\r\n';
const json = 'Content-Type: application/json\r\n';
const body = JSON.stringify({ prompt: 'Once', max_tokens: 2, temperature: 0 });

/**
 * Sends bytes and returns what comes back until the server closes the socket.
 * @param later milliseconds, and bytes to send after them
 */
function raw({ url }: RunningServer, text: string, later?: readonly [number, string]): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write(text));
    if (later !== undefined) setTimeout(() => socket.write(later[1]), later[0]);
    socket.on('data', (piece: Buffer) => {
      answer += piece.toString();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      resolve(answer);
    });
  });
}

function statusOf(answer: string): number {
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1]);
}

async function newSession({ url }: RunningServer): Promise<string> {
  const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"prompt":"Once"}' };
  const made = await (await fetch(`${url}/v1/sessions`, options)).text();
  return /sess_[0-9a-f]{32}/.exec(made)?.[0] ?? '';
}

describe('requests without a body', () => {
  const cases: readonly (readonly [string, string, number])[] = [
    ['POST', '/tokenize', 415],
    ['POST', '/v1/completions', 415],
    ['POST', '/infill', 501],
    ['POST', '/v1/batches', 501],
    ['DELETE', '/v1/models/tiny', 405],
    ['DELETE', '/v1/sessions/none', 404],
    ['PUT', '/v1/sessions/none/state', 415],
    ['POST', '/nowhere', 404],
    ['DELETE', '/nowhere', 404],
  ];
  it.each(cases)('%s %s: %i', async (method, path, status) => {
    const { server, logged } = await serve(model);
    const answer = await raw(server, `${method} ${path} HTTP/1.1\r\n${host}${close}\r\n`);
    expect(statusOf(answer), answer).toBe(status);
    expect(logged.join('')).not.toContain('request failed');
  });

  it('fork a session once', async () => {
    const { server } = await serve(model);
    const id = await newSession(server);
    const answer = await raw(server, `POST /v1/sessions/${id}/fork HTTP/1.1\r\n${host}${close}\r\n`);
    expect(statusOf(answer)).toBe(201);
    expect(answer.match(/"object":"session"/g)).toHaveLength(1);
  });
});

it('a body that is refused at its first bytes leaves the connection to further requests', async () => {
  const { server } = await serve(model);
  const bytes = 'Content-Type: application/octet-stream\r\n';
  const upload = `POST /v1/sessions/import HTTP/1.1\r\n${host}${bytes}Content-Length: 4000000\r\n\r\n`;
  const health = `GET /health HTTP/1.1\r\n${host}${close}\r\n`;
  // The server gives half a second to the rest of a body.
  const answer = await raw(server, upload + '\0'.repeat(4_000_000), [800, health]);
  expect(answer.match(/HTTP\/1\.1 \d{3}/g)).toEqual(['HTTP/1.1 400', 'HTTP/1.1 200']);
});

it('requests that have their answers are not held', async () => {
  const { server } = await serve(model);
  const ask = async (prompt: string): Promise<void> => {
    const request = {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt, max_tokens: -1 }),
    };
    await (await fetch(`${server.url}/v1/completions`, request)).text();
  };
  for (let count = 0; count < 200; count++) await ask('Once');
  // Counting collects garbage first; finalizers of requests run after it.
  const held = async (): Promise<number> => {
    await sleep(20);
    return queryObjects(ServerResponse, { format: 'count' });
  };
  await expect.poll(held, { timeout: 5_000 }).toBeLessThan(50);
});

describe('a body in chunks', () => {
  const chunk = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
  const head = `POST /v1/completions HTTP/1.1\r\n${host}${close}${json}Transfer-Encoding: chunked\r\n\r\n`;

  it('is read as a whole one is', async () => {
    const { server } = await serve(model);
    const text = `${head}${chunk(body.slice(0, 9))}${chunk(body.slice(9))}0\r\n\r\n`;
    const answer = await raw(server, text);
    expect(statusOf(answer)).toBe(200);
    expect(answer).toContain('"completion_tokens":2');
  });

  it('is refused where it is too large, without a word before it ends', async () => {
    const { server } = await serve(model, { http: { limits: { bodyBytes: 100 } } });
    expect(statusOf(await raw(server, head + chunk('x'.repeat(101))))).toBe(413);
  });
});

it('answers requests that come on a connection at once, each with its own body, in their order', async () => {
  const { server } = await serve(model);
  const post = `POST /v1/completions HTTP/1.1\r\n${host}${json}Content-Length: ${body.length}\r\n\r\n${body}`;
  const absent = `DELETE /v1/sessions/none HTTP/1.1\r\n${host}\r\n`;
  const last = `GET /health HTTP/1.1\r\n${host}${close}\r\n`;
  const answers = (await raw(server, post + absent + post + last)).split(/(?=HTTP\/1\.1 )/);
  expect(answers.map(statusOf)).toEqual([200, 404, 200, 200]);
  expect(answers.map((answer) => /text_completion|not_found|"ok"/.exec(answer)?.[0])).toEqual([
    'text_completion',
    'not_found',
    'text_completion',
    '"ok"',
  ]);
});

it('ends a stream that nobody reads within the time that draining has', async () => {
  const { server } = await serve(model, { http: { drainTimeout: 0.5 } });
  const endless = { prompt: 'Once', max_tokens: 200_000, ignore_eos: true, stream: true };
  const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(endless) };
  const stream = await fetch(`${server.url}/v1/completions`, options);
  expect(stream.status).toBe(200);
  const started = performance.now();
  await server.drain();
  expect(performance.now() - started).toBeLessThan(4000);
  await stream.body?.cancel().catch(() => undefined);
});

describe('a request without end', () => {
  const endless = { prompt: 'Once', max_tokens: 200_000, ignore_eos: true };
  const ask = (url: string, fields: object) =>
    fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...endless, ...fields }),
    });

  it.each([false, true])('is told of the limit of time (stream: %s)', async (stream) => {
    const { server } = await serve(model, { http: { limits: { timeout: 0.3 } } });
    const answer = await ask(server.url, { stream });
    expect(answer.status).toBe(stream ? 200 : 503);
    expect(await answer.text()).toContain('the request took longer than 0.3 seconds');
  });

  it.each([false, true])('is told that the server shuts down (stream: %s)', async (stream) => {
    const { server } = await serve(model, { http: { drainTimeout: 0.3 } });
    const asked = ask(server.url, { stream });
    await expect
      .poll(async (): Promise<unknown> => await (await fetch(`${server.url}/load`)).json())
      .toEqual({ server_load: 1 });
    const drained = server.drain();
    const answer = await asked;
    expect(answer.status).toBe(stream ? 200 : 503);
    expect(await answer.text()).toContain('the server is shutting down');
    await drained;
  });
});
