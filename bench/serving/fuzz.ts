/**
 * Sends many hostile requests to a server over sockets and reports answer statuses, memory, and every
 * request answered as a server fault. `node --expose-gc --import tsx bench/serving/fuzz.ts 100000 1` sends
 * 100,000 from seed 1; a third number sets the MiB of the prefix cache and of the kept answers, default 32.
 */
import { Agent } from 'node:http';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { z } from 'zod';
import { startServer } from '../../src/serving/server.ts';
import { hostileRequest, meantFaults, sendHostile } from '../../test/serving/hostile-requests.ts';
import { chatTemplate } from '../../test/serving/served.ts';
import { open } from '../../src/open/index.ts';

const [countText = '10000', seedText = '1', cacheText = '32'] = process.argv.slice(2);
const count = Number(countText);
const first = Number(seedText);
const together = 8;

const folder = fileURLToPath(new URL('../../assets/tiny-llama', import.meta.url));
await using model = await open(folder, { name: 'tiny', chatTemplate, threads: 1 });
const failures: string[] = [];
const log = pino({ level: 'error' }, { write: (line: string) => failures.push(line) });
const server = await startServer(model, {
  http: { port: 0, log, limits: { maxTokens: 4, promptTokens: 512 } },
  stores: { cacheBytes: Number(cacheText) << 20 },
});

const statuses = new Map<number, number>();
const agent = new Agent({ keepAlive: true, maxSockets: together });
const listSchema = z.object({ data: z.array(z.union([z.string(), z.object({ id: z.string() })])) });
/** Deletes sessions whose clients left before they received an id: the server keeps them, as asked. */
async function forgetAbandoned(): Promise<number> {
  const answer = await fetch(`${server.url}/v1/sessions`);
  const { data } = listSchema.parse(await answer.json());
  const ids = data.map((entry) => (typeof entry === 'string' ? entry : entry.id));
  for (const id of ids) await forget(id);
  return ids.length;
}

/** Deletes the session that a request made, so that memory growth excludes it. */
async function forget(text: string): Promise<void> {
  const id = /sess_[0-9a-f]{32}/.exec(text)?.[0];
  if (id !== undefined) await fetch(`${server.url}/v1/sessions/${id}`, { method: 'DELETE' });
}

/** The last time this process resumed after seconds without the processor, while the server closed idle connections. */
let stoodStill = -Infinity;
let lastTick = performance.now();
setInterval(() => {
  const now = performance.now();
  if (now - lastTick > 3_000) stoodStill = now;
  lastTick = now;
}, 200).unref();

let next = first;
let answered = 0;
let unmeant = 0;
async function send(): Promise<void> {
  while (next < first + count) {
    const seed = next++;
    const request = hostileRequest(seed);
    const sent = await sendHostile(server.url, request, agent).catch((error: unknown) => {
      if (performance.now() - stoodStill < 5_000) return undefined;
      throw new Error(`seed ${seed} has no answer`, { cause: error });
    });
    if (sent === undefined) continue;
    const { status, text } = sent;
    if (status === 201) await forget(text);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
    const inStream = text.includes('"code":500');
    if ((status >= 500 && !meantFaults.has(status)) || inStream) {
      unmeant++;
      process.stdout.write(
        `seed ${seed}: ${status} ${JSON.stringify(request).slice(0, 1000)}\n${text.slice(0, 500)}\n`,
      );
    }
    const done = ++answered;
    if (done % 2000 === 0) {
      const abandoned = await forgetAbandoned();
      // Garbage is not a leak: --expose-gc collects it before the reading.
      globalThis.gc?.();
      const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
      const [all, heap, buffers] = [rss, heapUsed, arrayBuffers].map((bytes) => (bytes / 2 ** 20).toFixed(0));
      const elapsed = ((performance.now() - started) / 1000).toFixed(0);
      const prefixes = ((server.runner.prefixes?.bytes ?? 0) / 2 ** 20).toFixed(0);
      process.stdout.write(
        `${done} in ${elapsed} s: rss ${all} MiB, heap ${heap} MiB, buffers ${buffers} MiB, ` +
          `including prefixes ${prefixes} MiB; ${abandoned} abandoned sessions\n`,
      );
    }
  }
}
const started = performance.now();
await Promise.all(Array.from({ length: together }, send));
agent.destroy();
await server.drain();
const seconds = (performance.now() - started) / 1000;
process.stdout.write(`${count} requests from seed ${first} in ${seconds.toFixed(0)} s\n`);
for (const [status, times] of [...statuses].sort(([a], [b]) => a - b)) process.stdout.write(`${status}: ${times}\n`);
process.stdout.write(`unexpected faults: ${unmeant}; errors logged: ${failures.length}\n`);
for (const line of failures.slice(0, 5)) process.stdout.write(line);
process.exitCode = unmeant > 0 ? 1 : 0;
