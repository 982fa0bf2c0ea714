/** Who is let in, and what hostile requests come to. */
import { connect } from 'node:net';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LanguageModel } from '../../src/open/language-model.ts';
import { type RunningServer, startServer } from '../../src/serving/server.ts';
import { runCaptured } from '../cli/captured-cli.ts';
import { startCli } from '../cli/cli-process.ts';
import { openTiny, serve, tinyLlamaFolder } from './served.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await openTiny();
});
afterAll(() => model[Symbol.asyncDispose]());

const json = { 'content-type': 'application/json' };
const request = { prompt: 'Once', max_tokens: 2, temperature: 0 };

function post(
  { url }: RunningServer,
  body: string = JSON.stringify(request),
  headers: Readonly<Record<string, string>> = json,
  path = '/v1/completions',
): Promise<Response> {
  return fetch(url + path, { method: 'POST', headers, body });
}

describe('keys', () => {
  it('are needed where they are set, in either header, but for what is public', async () => {
    const { server } = await serve(model, { http: { keys: ['secret-1', 'secret-2'] } });
    const wrong: Record<string, string>[] = [
      {},
      { authorization: 'Bearer secret-3' },
      { 'x-api-key': '' },
      { authorization: 'secret-1' },
    ];
    for (const headers of wrong) {
      const refused = await post(server, undefined, { ...json, ...headers });
      expect(refused.status).toBe(401);
      expect(await refused.json()).toMatchObject({ error: { type: 'authentication_error', code: 401 } });
    }
    const right: Record<string, string>[] = [{ authorization: 'Bearer secret-1' }, { 'x-api-key': 'secret-2' }];
    for (const headers of right) expect((await post(server, undefined, { ...json, ...headers })).status).toBe(200);
    for (const path of ['/health', '/v1/health', '/v1/models'])
      expect((await fetch(server.url + path)).status).toBe(200);
    for (const path of ['/metrics', '/load', '/api/tags', '/api/ps', '/api/version', '/api/pull', '/v1/models/x'])
      expect((await fetch(server.url + path)).status, path).toBe(401);
    for (const path of ['/api/generate', '/api/chat', '/api/embed', '/api/embeddings', '/api/show']) {
      const refused = await post(server, '{', json, path);
      expect([refused.status, await refused.json()]).toEqual([401, { error: 'the API key is missing or wrong' }]);
    }
  });

  it('keep the prefix cache of each apart', async () => {
    const { server } = await serve(model, { http: { keys: ['secret-1', 'secret-2'] } });
    const cached = async (key: string, salt?: string): Promise<unknown> => {
      const body = JSON.stringify({ ...request, prompt: 'Once upon a time', cache_salt: salt });
      const answer: unknown = await (await post(server, body, { ...json, 'x-api-key': key })).json();
      return answer;
    };
    const hits = (count: unknown) => ({ usage: { prompt_tokens_details: { cached_tokens: count } } });
    expect(await cached('secret-1')).toMatchObject(hits(0));
    expect(await cached('secret-1')).toMatchObject(hits(5));
    expect(await cached('secret-2')).toMatchObject(hits(0));
    expect(await cached('secret-1', 'other')).toMatchObject(hits(0));
  });

  it('are asked for by addresses that others reach', async () => {
    const log = pino({ level: 'silent' });
    const opened = startServer(model, { http: { port: 0, log, host: '0.0.0.0' } });
    await expect(opened).rejects.toMatchObject({ code: 'CONFIG' });
  });
});

describe('pages of other sites', () => {
  it('get no headers that let them read, unless their origin was named', async () => {
    const { server } = await serve(model);
    const foreign = { ...json, origin: 'https://example.org' };
    expect((await post(server, undefined, foreign)).headers.get('access-control-allow-origin')).toBeNull();
    const { server: open } = await serve(model, { http: { origins: ['https://example.org'] } });
    expect((await post(open, undefined, foreign)).headers.get('access-control-allow-origin')).toBe(
      'https://example.org',
    );
    const other = { ...json, origin: 'https://example.com' };
    expect((await post(open, undefined, other)).headers.get('access-control-allow-origin')).toBeNull();
    const preflight = await fetch(`${open.url}/v1/completions`, {
      method: 'OPTIONS',
      headers: { origin: 'https://example.org', 'access-control-request-method': 'POST' },
    });
    expect(preflight.status).toBe(204);
  });

  it('cannot send JSON as a plain form does', async () => {
    const { server } = await serve(model);
    expect((await post(server, undefined, { 'content-type': 'text/plain' })).status).toBe(415);
  });
});

/** Sends bytes and returns what comes back until the socket closes. */
function raw(server: RunningServer, text: string): Promise<string> {
  const { port } = new URL(server.url);
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect(Number(port), '127.0.0.1', () => socket.write(text));
    socket.on('data', (piece: Buffer) => {
      answer += piece.toString();
    });
    socket.on('error', () => {
      resolve(answer);
    });
    socket.on('close', () => {
      resolve(answer);
    });
  });
}

describe('hostile requests', () => {
  it('to a name that only pretends to be this machine are refused', async () => {
    const { server } = await serve(model);
    const answer = await raw(server, 'GET /props HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1.1 403/);
  });

  it('with large bodies, with or without their length, and floods of headers are refused', async () => {
    const { server } = await serve(model, { http: { limits: { bodyBytes: 1000 } } });
    const large = JSON.stringify({ prompt: 'x'.repeat(2000) });
    expect((await post(server, large)).status).toBe(413);
    const stream = new Blob([large]).stream();
    const chunked = { method: 'POST', headers: json, body: stream, duplex: 'half' as const };
    expect((await fetch(`${server.url}/v1/completions`, chunked)).status).toBe(413);
    const flood = Array.from({ length: 3000 }, (_, i) => `x-${i}: 1`).join('\r\n');
    expect(await raw(server, `GET /health HTTP/1.1\r\nHost: localhost\r\n${flood}\r\n\r\n`)).toMatch(/^HTTP\/1.1 431/);
  });

  it('that come byte by byte, stop half way, or never begin hold up nobody, and are gone in the end', async () => {
    const { server } = await serve(model, { http: { headersTimeout: 300, requestTimeout: 600 } });
    const head = 'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n';
    const started = performance.now();
    const slow = [
      raw(server, ''),
      raw(server, 'GET /health HTTP/1.1\r\nHost: loc'),
      raw(server, head),
      raw(server, `${head}content-length: 1000\r\n\r\n{"prompt":`),
      raw(server, `${head}transfer-encoding: chunked\r\n\r\n5\r\n{"pro`),
    ];
    expect((await post(server)).status).toBe(200);
    const answers = await Promise.all(slow);
    // Closed by the server, at the latest when it next looks for such sockets.
    expect(performance.now() - started).toBeGreaterThan(250);
    for (const answer of answers) expect(answer).toMatch(/^$|^HTTP\/1.1 4\d\d/);
  });

  it('whose sender half-closes its socket get their answer all the same', async () => {
    const { server } = await serve(model);
    const { port } = new URL(server.url);
    const answer = await new Promise<string>((resolve, reject) => {
      let text = '';
      const socket = connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true });
      socket.on('data', (piece: Buffer) => {
        text += piece.toString();
      });
      socket.on('error', reject);
      socket.on('end', () => {
        resolve(text);
      });
      socket.end('GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    });
    expect(answer).toMatch(/^HTTP\/1.1 200/);
  });

  it('that break the rules of the protocol are refused', async () => {
    const { server } = await serve(model);
    const both =
      'POST /tokenize HTTP/1.1\r\nHost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n';
    const spaced = 'GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n';
    for (const text of [both, spaced, '\u0016\u0003\u0001\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n']) {
      expect(await raw(server, text)).toMatch(/^HTTP\/1.1 4\d\d/);
    }
    expect((await post(server)).status).toBe(200);
  });

  const bodies: readonly (readonly [string, string, number])[] = [
    ['nothing', '', 400],
    ['half an object', '{"prompt": "x', 400],
    ['a list', '[]', 400],
    ['null', 'null', 400],
    ['NaN', '{"prompt":"x","temperature":NaN}', 400],
    ['infinity', '{"prompt":"x","temperature":1e309}', 400],
    ['2^53', '{"prompt":"x","seed":9007199254740992}', 400],
    ['deep lists', `{"prompt":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 400],
    ['a prototype', '{"prompt":"x","max_tokens":1,"__proto__":{"n":9},"logit_bias":{"__proto__":1}}', 200],
    ['an empty prompt', '{"prompt":"","max_tokens":1}', 200],
    ['fields of clients', '{"prompt":"x","max_tokens":1,"user":"u","store":true,"metadata":{},"suffix":null}', 200],
  ];
  it.each(bodies)('%s', async (_, body, status) => {
    const { server } = await serve(model);
    expect((await post(server, body)).status).toBe(status);
  });

  it('of any fields get no answer that blames the server', async () => {
    const { server } = await serve(model);
    const value = fc.oneof(
      fc.constantFrom<unknown>(-1, 0, 1, 1.5, 2 ** 53, -0, '', 'x', null, true, [], {}, [[]], [0], ['a'], [[1, 2]], {
        a: 1,
      }),
      fc.anything({ maxDepth: 3 }),
    );
    const names = [
      'prompt',
      'max_tokens',
      'temperature',
      'top_p',
      'top_k',
      'min_p',
      'n',
      'best_of',
      'stop',
      'seed',
      'stream',
      'echo',
    ];
    const more = [
      'logprobs',
      'logit_bias',
      'presence_penalty',
      'frequency_penalty',
      'stop_token_ids',
      'messages',
      'tokens',
      'content',
    ];
    const body = fc.dictionary(fc.constantFrom(...names, ...more), value);
    const paths = ['/v1/completions', '/v1/chat/completions', '/tokenize', '/detokenize', '/apply-template'];
    await fc.assert(
      fc.asyncProperty(body, fc.constantFrom(...paths), async (fields, path) => {
        const answer = await post(server, safeJson({ max_tokens: 1, ...fields }), json, path);
        expect([200, 400]).toContain(answer.status);
        expect(await answer.text()).not.toMatch(/"code":5\d\d/);
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  it('beyond the queue and the rate wait their turn', async () => {
    const { server } = await serve(model, { runner: { parallel: 1, maxQueue: 1 } });
    const long = JSON.stringify({ ...request, max_tokens: 200, ignore_eos: true });
    const answers = await Promise.all(Array.from({ length: 6 }, () => post(server, long)));
    const statuses = answers.map(({ status }) => status).sort();
    expect(statuses.slice(0, 1)).toEqual([200]);
    expect(statuses.at(-1)).toBe(429);
    expect(answers.find(({ status }) => status === 429)?.headers.get('retry-after')).toBe('1');
    const { server: slow } = await serve(model, { http: { rate: 2 } });
    const rated = [await post(slow), await post(slow), await post(slow)];
    expect(rated.map(({ status }) => status)).toEqual([200, 200, 429]);
  });

  it('leave no word of theirs in the log', async () => {
    const { server, logged } = await serve(model);
    await post(server, JSON.stringify({ ...request, prompt: 'a secret of mine', stop: 'another secret' }));
    await post(server, '{"prompt": "a secret of mine');
    await fetch(`${server.url}/nowhere?secret=1`);
    expect(logged.length).toBe(3);
    expect(logged.join('')).not.toContain('secret');
  });
});

/** JSON of values that may not have any. */
function safeJson(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'bigint' ? inner.toString() : inner));
}

describe('linnet serve', () => {
  it('serves no page where it is told so, answers until SIGTERM, lets a stream come to its end, and exits with 0', async () => {
    let url: (found: string) => void = () => undefined;
    const listening = new Promise<string>((resolve) => {
      url = resolve;
    });
    let printed = '';
    const words = [
      'serve',
      tinyLlamaFolder,
      '--port',
      '0',
      '--engine',
      'inline',
      '--threads',
      '1',
      '--served-model-name',
      'tiny',
      '--no-ui',
    ];
    words.push('--metrics-names', 'vllm,llamacpp', '--deterministic');
    const { child, ended } = startCli(words);
    child.stdout?.on('data', (piece: Buffer) => {
      printed += piece.toString();
      const found = /http:\/\/[\d.:]+/.exec(printed);
      if (found !== null) url(found[0]);
    });
    const base = await listening;
    expect((await fetch(`${base}/`)).status).toBe(404);
    expect(await (await fetch(`${base}/props`)).json()).toMatchObject({ deterministic: true });
    const metrics = await (await fetch(`${base}/metrics`)).text();
    expect(metrics).toContain('vllm:num_requests_running{model_name="tiny"} 0');
    expect(metrics).toContain('llamacpp:requests_deferred 0');
    const body = JSON.stringify({ model: 'tiny', prompt: 'Once', max_tokens: 400, ignore_eos: true, stream: true });
    const stream = await fetch(`${base}/v1/completions`, { method: 'POST', headers: json, body });
    child.kill('SIGTERM');
    expect(await stream.text()).toMatch(/"finish_reason":"length".*\n\ndata: \[DONE\]\n\n$/);
    const { run } = await ended;
    expect([run.exitCode, run.stderr]).toEqual([0, expect.stringContaining('drained')]);
  });

  it('refuses to draft where texts are to depend in no bit on the clock', async () => {
    const { exitCode, stderr } = await runCaptured([
      'serve',
      tinyLlamaFolder,
      '--deterministic',
      '--speculate',
      'lookup',
    ]);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining('--speculate')]);
  });
});
