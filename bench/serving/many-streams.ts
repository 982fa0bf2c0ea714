/**
 * Opens many streams at once and reads them slowly, to measure the server's memory. `npx tsx bench/serving/many-streams.ts
 * MODEL STREAMS TOKENS` starts its own server from dist/.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const [folder = 'assets/tiny-llama', streamsText = '500', tokensText = '64'] = process.argv.slice(2);
const streams = Number(streamsText);
const words = [
  'serve',
  folder,
  '--port',
  '0',
  '--parallel',
  '16',
  '--max-queue',
  '1000',
  '--quiet',
  '--state-cache',
  '0',
  '--timeout',
  '3600',
];
const server = spawn(process.execPath, [main, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
const [hello] = z.tuple([z.instanceof(Buffer)]).parse(await once(server.stdout, 'data'));
const url = /http:\S+(?=\/v1)/.exec(hello.toString())?.[0] ?? '';

async function memory(): Promise<number> {
  const text = await (await fetch(`${url}/metrics`, { headers: { connection: 'close' } })).text();
  return Number(/^process_resident_memory_bytes (\S+)$/m.exec(text)?.[1]) / 2 ** 20;
}

/** Reads one stream a piece at a time; counts its events and notes whether it ended. */
async function stream(index: number): Promise<{ ended: boolean; status: number }> {
  const body = JSON.stringify({
    prompt: `Stream ${index}: once upon a time`,
    max_tokens: Number(tokensText),
    ignore_eos: true,
    stream: true,
  });
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body });
  let last = '';
  for await (const piece of response.body ?? []) {
    if (piece instanceof Uint8Array) last = new TextDecoder().decode(piece);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  if (!last.includes('[DONE]')) process.stderr.write(`${response.status} ${JSON.stringify(last.slice(-300))}\n`);
  return { ended: last.includes('[DONE]'), status: response.status };
}

await stream(0);
const before = await memory();
let most = before;
const watch = setInterval(() => {
  // A failed reading is skipped; the next one comes soon.
  void memory().then(
    (now) => (most = Math.max(most, now)),
    () => undefined,
  );
}, 250);
const started = performance.now();
const results = await Promise.all(Array.from({ length: streams }, (_, index) => stream(index)));
clearInterval(watch);
const seconds = (performance.now() - started) / 1000;
const ended = results.filter((result) => result.ended && result.status === 200).length;
process.stdout.write(`${ended} of ${streams} streams ended in ${seconds.toFixed(1)} s\n`);
process.stdout.write(
  `memory before ${before.toFixed(0)} MiB, most ${most.toFixed(0)} MiB, after ${(await memory()).toFixed(0)} MiB\n`,
);
server.kill('SIGTERM');
await once(server, 'exit');
