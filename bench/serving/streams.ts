/**
 * How a server does with many streams: tokens per second of 1, 4 and 16 at a time, the engine without a server, the wait
 * for the first token of a session after many others were active, and how soon a row is free when its client is gone.
 *
 *   npm run build
 *   npx tsx bench/serving/streams.ts MODEL [tokens per stream, default 128] [other sessions, default 1000]
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const [folder = 'assets/tiny-llama', tokensText = '128', othersText = '1000'] = process.argv.slice(2);
const tokens = Number(tokensText);
const others = Number(othersText);
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

/** Seconds until the first and until the last event of a stream. */
async function stream(body: object): Promise<{ first: number; last: number }> {
  const started = performance.now();
  const response = await ask('/v1/completions', { ...body, stream: true });
  let first = 0;
  for await (const piece of response.body ?? []) {
    if (first === 0 && piece instanceof Uint8Array) first = (performance.now() - started) / 1000;
  }
  return { first, last: (performance.now() - started) / 1000 };
}

/** Tokens a second of all streams, the best of three. */
async function throughput(streams: number): Promise<number> {
  const rates: number[] = [];
  for (let round = 0; round < 3; round++) {
    const started = performance.now();
    await Promise.all(Array.from({ length: streams }, () => stream(completion)));
    rates.push((1000 * streams * tokens) / (performance.now() - started));
  }
  return Math.max(...rates);
}

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
const bareRates = [1, 2, 3].map(() => {
  const json: unknown = JSON.parse(
    execFileSync(process.execPath, [main, 'generate', folder, ...words], { encoding: 'utf8' }),
  );
  return bareSchema.parse(json).tokensPerSecond;
});
const bare = Math.max(...bareRates);
report('engine alone, tokens/s', bare.toFixed(1));
await stream(completion);
const one = await throughput(1);
for (const streams of [1, 4, 16]) {
  const rate = streams === 1 ? one : await throughput(streams);
  report(`${streams} streams, tokens/s (over 1)`, `${rate.toFixed(1)} (${(rate / one).toFixed(2)}×)`);
}
report('server over engine, 1 stream, time per token', `${((bare / one - 1) * 100).toFixed(1)} %`);

const rssBefore = await metric('process_resident_memory_bytes');
const own = await session();
for (let turn = 0; turn < 19; turn++)
  await ask('/v1/completions', { ...completion, prompt: ' And', max_tokens: 16, session_id: own });
const created = performance.now();
for (let made = 0; made < others; made += 8) await Promise.all(Array.from({ length: 8 }, session));
report(`${others} other sessions, ms each`, ((performance.now() - created) / others).toFixed(2));
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
