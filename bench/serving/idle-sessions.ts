/**
 * Many idle sessions: the server memory they take beyond one session, and how soon each resumes.
 *
 *   npx tsx bench/serving/idle-sessions.ts MODEL [sessions, default 10000] [where, default a temporary folder]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const [folder = 'assets/tiny-llama', countText = '10000', place] = process.argv.slice(2);
const count = Number(countText);
const words = [
  'serve',
  folder,
  '--port',
  '0',
  '--engine',
  'inline',
  '--quiet',
  ...(place === undefined ? [] : ['--sessions', place]),
];
const server = spawn(process.execPath, ['--import', 'tsx', main, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
const [hello] = z.tuple([z.instanceof(Buffer)]).parse(await once(server.stdout, 'data'));
const url = /http:\S+(?=\/v1)/.exec(hello.toString())?.[0] ?? '';

async function post(path: string, body: object): Promise<unknown> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
  const json: unknown = await response.json();
  if (!response.ok) throw new Error(JSON.stringify(json));
  return json;
}

async function memory(): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(/^process_resident_memory_bytes (\S+)$/m.exec(text)?.[1]);
}

const idSchema = z.object({ id: z.string(), state_bytes: z.number() });
const turn = (id: string): Promise<unknown> =>
  post('/v1/completions', { prompt: ' And', max_tokens: 4, temperature: 0, session_id: id });
const first = idSchema.parse(await post('/v1/sessions', { prompt: 'Once upon a time there was a whale' }));
await turn(first.id);
const before = await memory();
const ids: string[] = [];
const started = performance.now();
while (ids.length < count - 1) {
  const made = await post(`/v1/sessions/${first.id}/fork`, { count: Math.min(64, count - 1 - ids.length) });
  ids.push(
    ...z
      .object({ data: z.array(idSchema) })
      .parse(made)
      .data.map(({ id }) => id),
  );
}
const report = (what: string, value: string): void => {
  process.stdout.write(`| ${what} | ${value} |\n`);
};
report('bytes of a state', String(first.state_bytes));
report(`${count} forks, ms each`, ((performance.now() - started) / count).toFixed(2));
report('memory over one session, MiB', (((await memory()) - before) / 2 ** 20).toFixed(0));
const times: number[] = [];
const step = Math.max(1, Math.floor(count / 500));
for (let index = 0; index < ids.length; index += step) {
  const began = performance.now();
  await turn(ids[index]);
  times.push(performance.now() - began);
}
times.sort((a, b) => a - b);
report(
  `turns of 4 tokens on ${times.length} of them, median and p99 ms`,
  `${times[times.length >> 1].toFixed(1)}, ${times[Math.floor(times.length * 0.99)].toFixed(1)}`,
);
report('memory after those, MiB', (((await memory()) - before) / 2 ** 20).toFixed(0));
server.kill('SIGTERM');
await once(server, 'exit');
