/**
 * The whole: two servers in processes of their own behind haproxy, which routes by their load, without sticky sessions, their
 * state in Redis.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { linnet } from '../cli/captured-cli.ts';
import { startCli, type StartedCli } from '../cli/cli-process.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { end, freePort, haproxy, listening, noRedis, type RunningRedis, startRedis } from './local-process.ts';
import { tinyLlamaFolder } from './served.ts';

const missing = noRedis || haproxy === undefined;
const reason = missing ? ' (skipped: there is no redis-server or no haproxy)' : '';
const folder = suiteFolder();
const model = join(folder, 'linear');
const names = ['linnet-a', 'linnet-b'] as const;
type Name = (typeof names)[number];
const ports = new Map<Name, number>();
const running = new Map<Name, StartedCli>();
let redis: RunningRedis;
let balancer: ChildProcess | undefined;
let agent: ChildProcess | undefined;
let url: string;
let statistics: string;

async function start(name: Name): Promise<void> {
  const port = String(ports.get(name));
  const words = [
    'serve',
    model,
    '--served-model-name',
    'tiny',
    '--port',
    port,
    '--sessions',
    redis.url,
    '--threads',
    '1',
    '--engine',
    'inline',
    '--drain-delay',
    '2',
  ];
  const started = startCli(words);
  running.set(name, started);
  await listening(Number(port), started.child);
}

function processOf(name: Name): StartedCli {
  const started = running.get(name);
  if (started === undefined) throw new Error(`${name} does not run`);
  return started;
}

beforeAll(async () => {
  if (missing) return;
  const { stderr, exitCode } = await linnet('linearize', tinyLlamaFolder, '--mixer', 'augmented', '--out', model);
  expect(exitCode, stderr).toBe(0);
  redis = await startRedis();
  const [front, told, asked] = [await freePort(), await freePort(), await freePort()];
  // The file that is meant for use, with other addresses.
  let config = readFileSync(new URL('../../deploy/haproxy.cfg', import.meta.url), 'utf8')
    .replace('bind :8080', `bind 127.0.0.1:${front}`)
    .replace('check inter 1s', 'check inter 200ms')
    .replace('agent-port 8405', `agent-port ${asked}`)
    .replace('bind :8404', `bind 127.0.0.1:${told}`);
  for (const name of names) {
    ports.set(name, await freePort());
    config = config.replaceAll(`${name}:8080`, `127.0.0.1:${ports.get(name)}`);
  }
  const file = join(folder, 'haproxy.cfg');
  await writeFile(file, config);
  await Promise.all(names.map(start));
  const script = fileURLToPath(new URL('../../deploy/haproxy-agent.mjs', import.meta.url));
  agent = spawn(process.execPath, [script, String(asked)], { stdio: 'ignore' });
  balancer = spawn(haproxy ?? '', ['-db', '-q', '-f', file], { stdio: 'ignore' });
  await listening(front, balancer);
  url = `http://127.0.0.1:${front}/v1`;
  statistics = `http://127.0.0.1:${told}`;
}, 180_000);
afterAll(async () => {
  if (missing) return;
  const processes = [...Array.from(running.values(), ({ child }) => child), balancer, agent];
  await Promise.all(processes.flatMap((child) => child ?? []).map((child) => end(child)));
  await redis.stop();
});

const summarySchema = z.object({ id: z.string(), version: z.number() });
const chunkSchema = z.object({ choices: z.array(z.object({ text: z.string() })) });
const headers = { 'content-type': 'application/json' };
const greedy = { model: 'tiny', temperature: 0, ignore_eos: true };

const post = (path: string, body: object): Promise<Response> =>
  fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });

/**
 * Asked again where it went to a server as that was killed. On a connection that has served a request before, haproxy closes
 * without an answer then, so that the client repeats what it may.
 */
async function versionOf(id: string): Promise<number> {
  for (;;) {
    const response = await fetch(`${url}/sessions/${id}`).catch(() => undefined);
    if (response?.status === 200) return summarySchema.parse(await response.json()).version;
    await response?.body?.cancel();
    expect([undefined, 502, 503]).toContain(response?.status);
    await sleep(20);
  }
}

/** The weight of a server, as haproxy tells it. */
async function weightOf(name: Name): Promise<number> {
  const page = await (await fetch(`${statistics}/metrics`)).text();
  return Number(new RegExp(`^haproxy_server_weight{proxy="linnet",server="${name}"} (\\d+)`, 'm').exec(page)?.[1]);
}

const serverOf = (response: Response): Name | undefined =>
  names.find((name) => name === response.headers.get('x-served-by'));

/** A stream's text, complete or as far as it came. */
async function read(response: Response, onPiece?: () => void): Promise<{ text: string; complete: boolean }> {
  let received = '';
  const decoder = new TextDecoder();
  try {
    for await (const piece of response.body ?? []) {
      if (piece instanceof Uint8Array) received += decoder.decode(piece, { stream: true });
      onPiece?.();
    }
  } catch {
    // The server is gone.
  }
  const events = received.split('\n\n').filter((event) => event.startsWith('data: {') && event.endsWith('}'));
  const text = events.map((event) => chunkSchema.parse(JSON.parse(event.slice(6))).choices[0]?.text ?? '').join('');
  return { text, complete: received.endsWith('data: [DONE]\n\n') };
}

interface Turn {
  readonly id: string;
  readonly tokens: number;
  readonly onPiece?: (server: Name | undefined) => void;
}

/** A turn as a careful client takes it: it names the version, and asks what became of a turn that it did not see to its end. */
async function turn({ id, tokens, onPiece }: Turn, used: Set<Name>): Promise<string | undefined> {
  const version = await versionOf(id);
  for (;;) {
    const body = { ...greedy, prompt: '', session_id: id, session_version: version, max_tokens: tokens, stream: true };
    const response = await post('/completions', body).catch(() => undefined);
    if (response?.status === 200) {
      const server = serverOf(response);
      if (server !== undefined) used.add(server);
      const { text, complete } = await read(response, () => onPiece?.(server));
      if (complete) return text;
    } else expect([undefined, 409, 502, 503]).toContain(response?.status);
    await sleep(50);
    // The turn was taken, and only its answer was lost.
    if ((await versionOf(id)) > version) return undefined;
  }
}

const prompts = ['Once upon a time', 'There was a fox', 'The sun', 'A little girl'];

describe.skipIf(missing)(`two servers behind haproxy${reason}`, () => {
  it('get new requests where there is room', async () => {
    const gone = new AbortController();
    onTestFinished(() => {
      gone.abort();
    });
    // Streams that did not come by haproxy, and that only their server knows of; two of its rows are free.
    const busy = Array.from({ length: 6 }, async () => {
      const body = JSON.stringify({ ...greedy, prompt: 'Once', max_tokens: 100_000, stream: true });
      const sent = { method: 'POST', headers, body, signal: gone.signal };
      await read(await fetch(`http://127.0.0.1:${ports.get('linnet-a')}/v1/completions`, sent));
    });
    for (const stream of busy) stream.catch(() => undefined);
    await expect.poll(() => weightOf('linnet-a'), { timeout: 20_000 }).toBeLessThan(20);
    const counts = { 'linnet-a': 0, 'linnet-b': 0 };
    for (let asked = 0; asked < 60; asked++) {
      const response = await post('/completions', { ...greedy, prompt: 'Once', max_tokens: 2 });
      await response.text();
      counts[serverOf(response) ?? 'linnet-a']++;
    }
    // Half of them where haproxy does not know of the streams.
    expect(counts['linnet-b']).toBeGreaterThanOrEqual(42);
    gone.abort();
    await Promise.allSettled(busy);
    await expect.poll(() => weightOf('linnet-a'), { timeout: 20_000 }).toBe(100);
  }, 120_000);

  it('take turns, lose nothing when one is killed, and are restarted without a failed request', async () => {
    const used = new Set<Name>();
    const ids = await Promise.all(
      prompts.map(async (prompt) => summarySchema.parse(await (await post('/sessions', { prompt })).json()).id),
    );
    const texts = await Promise.all(
      ids.map(async (id, client) => {
        const parts: (string | undefined)[] = [];
        for (let round = 0; round < 4; round++) {
          let killed = client !== 0 || round !== 1;
          const onPiece = (server: Name | undefined): void => {
            if (killed || server === undefined) return;
            killed = true;
            processOf(server).child.kill('SIGKILL');
          };
          parts.push(await turn({ id, tokens: 24, onPiece }, used));
        }
        return parts;
      }),
    );
    expect([...used].sort()).toEqual(names);
    const dead = names.filter((name) => processOf(name).child.signalCode === 'SIGKILL');
    expect(dead).toHaveLength(1);

    // Every committed turn is there: the session's next words are those of a text that nothing interrupted.
    for (const [client, prompt] of prompts.entries()) {
      const lone = await post('/completions', { ...greedy, prompt, max_tokens: 120 });
      const whole = chunkSchema.parse(await lone.json()).choices[0].text;
      expect(await versionOf(ids[client])).toBe(5);
      const tail = await turn({ id: ids[client], tokens: 24 }, used);
      expect(whole.endsWith(tail ?? 'lost')).toBe(true);
      if (!texts[client].includes(undefined)) expect(texts[client].join('') + (tail ?? '')).toBe(whole);
    }

    // A rolling restart: the killed server comes back, the other one drains, and clients notice neither.
    await start(dead[0]);
    const other = names.find((name) => name !== dead[0]) ?? dead[0];
    let stream: Response;
    do stream = await post('/completions', { ...greedy, prompt: 'Once', max_tokens: 600, stream: true });
    while (serverOf(stream) !== other && (await read(stream)).complete);
    processOf(other).child.kill('SIGTERM');
    const statuses: number[] = [];
    for (let asked = 0; asked < 8; asked++) {
      const response = await post('/completions', { ...greedy, prompt: '', session_id: ids[0], max_tokens: 4 });
      await response.text();
      statuses.push(response.status);
    }
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect((await read(stream)).complete).toBe(true);
    const { run } = await processOf(other).ended;
    expect([run.exitCode, run.stderr]).toEqual([0, expect.stringContaining('drained')]);
  }, 180_000);
});
