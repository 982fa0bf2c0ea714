/**
 * The measurements that routers read (endpoint pickers of the Gateway API inference extension and of llm-d, the router of vLLM's
 * production stack): names and types of the published table, ranges, and their meaning under load.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { LanguageModel } from '../../src/open/language-model.ts';
import { openTiny, serve } from './served.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await openTiny();
});
afterAll(() => model[Symbol.asyncDispose]());

interface Load {
  readonly running: number;
  readonly waiting: number;
}

const rows = 2;
const stateCache = 1 << 20;

/** The table of the model server protocol, with the old name of the usage, and the value under a load. */
const table: readonly (readonly [name: string, type: string, most: number, value: (load: Load) => number])[] = [
  ['vllm:num_requests_running', 'gauge', rows, ({ running }) => running],
  ['vllm:num_requests_waiting', 'gauge', Infinity, ({ waiting }) => waiting],
  ['vllm:kv_cache_usage_perc', 'gauge', 1, ({ running }) => running / rows],
  ['vllm:gpu_cache_usage_perc', 'gauge', 1, ({ running }) => running / rows],
  ['vllm:cache_config_info', 'gauge', 1, () => 1],
];

interface Sample {
  readonly value: number;
  readonly labels: ReadonlyMap<string, string>;
}

async function scrape(url: string) {
  const page = await (await fetch(`${url}/metrics`)).text();
  const lines = page.split('\n');
  return {
    lines,
    typeOf: (name: string) => lines.find((line) => line.startsWith(`# TYPE ${name} `))?.split(' ')[3],
    samplesOf: (name: string): Sample[] =>
      lines
        .filter((line) => line.startsWith(`${name}{`))
        .map((line) => ({
          value: Number(line.slice(line.lastIndexOf(' '))),
          labels: new Map([...line.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, value]) => [key, value])),
        })),
  };
}

interface Sending {
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

const ask = (url: string, fields: object, { headers, signal }: Sending = {}): Promise<Response> =>
  fetch(`${url}/v1/completions`, {
    ...{ method: 'POST', signal },
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ model: 'tiny', prompt: 'Once', ignore_eos: true, ...fields }),
  });

const loadOf = async (url: string): Promise<unknown> => (await fetch(`${url}/load`)).json();

describe('measurements for routers', () => {
  it.each([
    { running: 0, waiting: 0 },
    { running: 1, waiting: 0 },
    { running: 2, waiting: 3 },
  ])('have names, types, ranges and values of the published table: %j', async (load) => {
    const { server } = await serve(model, {
      http: { metricDialects: ['vllm'] },
      runner: { parallel: rows },
      stores: { cacheBytes: stateCache },
    });
    const count = load.running + load.waiting;
    const gone = new AbortController();
    const fields = { max_tokens: 100_000, stream: true };
    // Texts go on while their events are read.
    const readers = Array.from({ length: count }, async () => {
      const { body } = await ask(server.url, fields, { signal: gone.signal });
      for await (const _ of body ?? []);
    });
    for (const reader of readers) reader.catch(() => undefined);
    await expect.poll(() => loadOf(server.url)).toEqual({ server_load: count });
    await expect.poll(() => server.runner.active).toBe(load.running);
    const { lines, typeOf, samplesOf } = await scrape(server.url);
    for (const [name, type, most, value] of table) {
      expect(typeOf(name), name).toBe(type);
      const samples = samplesOf(name);
      expect(samples, name).toHaveLength(1);
      expect(samples[0].labels.get('model_name')).toBe('tiny');
      expect(samples[0].value, name).toBe(value(load));
      expect(samples[0].value, name).toBeLessThanOrEqual(most);
      // All lines of a name stand together.
      const own = lines.flatMap((line, place) => (new RegExp(`^(# \\w+ )?${name}[ {]`).test(line) ? [place] : []));
      expect(own.at(-1)).toBe(own[0] + own.length - 1);
    }
    const { labels } = samplesOf('vllm:cache_config_info')[0];
    expect(labels.get('block_size')).toBe('1');
    expect(labels.get('num_gpu_blocks')).toBe(
      String(512 * Math.floor(stateCache / ((await model.engine()).stateBytes ?? 0))),
    );
    gone.abort();
    await Promise.allSettled(readers);
  });

  it('need a key, unless they are open', async () => {
    const statuses = async (openMetrics: boolean): Promise<number[]> => {
      const { server } = await serve(model, { http: { keys: ['secret'], openMetrics } });
      const paths = ['/metrics', '/load', '/props'];
      return Promise.all(paths.map(async (path) => (await fetch(server.url + path)).status));
    };
    expect(await statuses(false)).toEqual([401, 401, 401]);
    expect(await statuses(true)).toEqual([200, 200, 401]);
  });
});

const listSchema = z.object({ data: z.array(z.object({ max_model_len: z.int().positive() })) });

describe('how long a text may be', () => {
  const longest = async (model: LanguageModel, limits: object = {}): Promise<number> => {
    const { server } = await serve(model, { http: { limits } });
    const { data } = listSchema.parse(await (await fetch(`${server.url}/v1/models`)).json());
    const size = data[0].max_model_len;
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"prompt":"x"}' };
    expect(await (await fetch(`${server.url}/tokenize`, init)).json()).toMatchObject({ max_model_len: size });
    const running = await (await fetch(`${server.url}/api/ps`)).json();
    expect(running).toMatchObject({ models: [{ context_length: size }] });
    return size;
  };

  it('is as long as those that a model was trained at where its state grows', async () => {
    expect(await longest(model, { promptTokens: 300 })).toBe(300);
    expect(await longest(model)).toBe(model.decoder.sizes.trainedLength);
  });

  it('is as the server is set where it does not', async () => {
    await using linear = await model.linearize('augmented');
    expect(await longest(linear, { promptTokens: 700 })).toBe(700);
  });
});

it('gives the session of a request back, by which balancers keep requests together', async () => {
  const { server } = await serve(model);
  const session = async (id: string): Promise<string | null> => {
    const answer = await ask(server.url, { max_tokens: 1 }, { headers: { 'x-session-id': id } });
    await answer.text();
    return answer.headers.get('x-session-id');
  };
  expect(await session('user-7:a')).toBe('user-7:a');
  for (const id of ['a b', 'a\tb', 'a; b=c', '<a>', 'é', 'a%0d%0ab:c', 'x'.repeat(129)])
    expect(await session(id), id).toBeNull();
});
