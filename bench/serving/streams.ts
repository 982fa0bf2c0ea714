/**
 * A server under many streams: tokens per second for 1, 4 and 16 at a time, the engine without a server, the wait
 * for a session's first token after many others were active, and how soon a row is free after its client leaves.
 *
 *   npm run build
 *   npx tsx bench/serving/streams.ts MODEL [tokens per stream, default 128] [other sessions, default 1000] [rounds, default 3]
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const [folder = 'assets/tiny-llama', tokensText = '128', othersText = '1000', roundsText = '3'] = process.argv.slice(2);
const tokens = Number(tokensText);
const others = Number(othersText);
const rounds = Number(roundsText);
const prompt = 'Once upon a time there was a whale that';
const headers = { 'content-type': 'application/json' };

const server = spawn(process.execPath, [main, 'serve', folder, '--port', '0', '--parallel', '16', '--quiet'], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
const [hello] = z.tuple([z.instanceof(Buffer)]).parse(await once(server.stdout, 'data'));
const url = /http:\S+(?=\/v1)/.exec(hello.toString())?.[0] ?? '';

function ask(path: string, body: object, signal?: AbortSignal): Promise<Response> {
  return fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body), signal });
}

const completion = { prompt, max_tokens: tokens, temperature: 0, ignore_eos: true };

/** Seconds until a stream's first and last events. */
async function stream(body: object): Promise<{ first: number; last: number }> {
  const started = performance.now();
  const response = await ask('/v1/completions', { ...body, stream: true });
  let first = 0;
  for await (const piece of response.body ?? []) {
    if (first === 0 && piece instanceof Uint8Array) first = (performance.now() - started) / 1000;
  }
  return { first, last: (performance.now() - started) / 1000 };
}

/** Wall and processor seconds per token, for this many streams at a time. */
interface Cost {
  readonly wall: number;
  readonly processor: number;
}

async function cost(streams: number): Promise<Cost> {
  const before = await metric('process_cpu_seconds_total');
  const started = performance.now();
  await Promise.all(Array.from({ length: streams }, () => stream(completion)));
  const wall = (performance.now() - started) / 1000;
  const count = streams * tokens;
  return { wall: wall / count, processor: ((await metric('process_cpu_seconds_total')) - before) / count };
}

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1];

const idSchema = z.object({ id: z.string() });
async function session(): Promise<string> {
  return idSchema.parse(await (await ask('/v1/sessions', { prompt })).json()).id;
}

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
}

const rows: [string, string][] = [];
const report = (what: string, value: string): void => {
  rows.push([what, value]);
  process.stdout.write(`| ${what} | ${value} |\n`);
};

const words = ['--prompt', prompt, '--max-tokens', String(tokens), '--ignore-eos', '--json', '--quiet'];
const bareSchema = z.object({ tokensPerSecond: z.number() });
const bareRates = Array.from({ length: rounds }, () => {
  const json: unknown = JSON.parse(
    execFileSync(process.execPath, [main, 'generate', folder, ...words], { encoding: 'utf8' }),
  );
  return bareSchema.parse(json).tokensPerSecond;
});
const bare = median(bareRates);
report('engine alone, tokens/s', bare.toFixed(1));
await stream(completion);
// Stream counts alternate, so that other work on the machine affects all of them.
const counts = [1, 4, 16];
const costs = counts.map((): Cost[] => []);
for (let round = 0; round < rounds; round++) {
  for (const [index, streams] of counts.entries()) costs[index].push(await cost(streams));
}
const [alone] = costs;
for (const [index, streams] of counts.entries()) {
  const over = (kind: keyof Cost): string =>
    median(costs[index].map((found, round) => alone[round][kind] / found[kind])).toFixed(2);
  const rate = (1 / median(costs[index].map(({ wall }) => wall))).toFixed(1);
  const processor = (1000 * median(costs[index].map((found) => found.processor))).toFixed(1);
  report(`${streams} streams, tokens/s (over 1)`, `${rate} (${over('wall')}×)`);
  report(`${streams} streams, processor ms a token (over 1)`, `${processor} (${over('processor')}×)`);
}
const one = 1 / median(alone.map(({ wall }) => wall));
report('server over engine, 1 stream, time per token', `${((bare / one - 1) * 100).toFixed(1)} %`);

const rssBefore = await metric('process_resident_memory_bytes');
const own = await session();
for (let turn = 0; turn < 19; turn++)
  await ask('/v1/completions', { ...completion, prompt: ' And', max_tokens: 16, session_id: own });
const created = performance.now();
for (let made = 0; made < others; made += 8) await Promise.all(Array.from({ length: 8 }, session));
if (others > 0) report(`${others} other sessions, ms each`, ((performance.now() - created) / others).toFixed(2));
const rss = (await metric('process_resident_memory_bytes')) - rssBefore;
report('memory they took, MiB', (rss / 2 ** 20).toFixed(0));
const { first } = await stream({ ...completion, prompt: ' And', max_tokens: 4, session_id: own });
report('turn 20 after them, ms to the first token', (1000 * first).toFixed(1));

const controller = new AbortController();
const gone = await ask('/v1/completions', { ...completion, max_tokens: 100_000, stream: true }, controller.signal);
await gone.body?.getReader().read();
const aborted = performance.now();
controller.abort();
while ((await metric('linnet_texts_running')) > 0);
report('client gone, ms until its row is free', (performance.now() - aborted).toFixed(1));

server.kill('SIGTERM');
await once(server, 'exit');
