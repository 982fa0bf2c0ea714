/**
 * Time to the first token with two servers behind haproxy under skewed load: round robin, the fewer connections of two random
 * servers, and the same with the loads that servers report (deploy/haproxy-agent.mjs). Requests arrive at random times; a random
 * fifth of them asks for a long text.
 *
 *   npm run build
 *   npx tsx bench/serving/routing.ts [MODEL] [requests, default 150] [share of the capacity, default 0.7] [rounds, default 2]
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Random } from '../../src/random.ts';
import { end, freePort, haproxy, listening } from '../../test/serving/local-process.ts';

const [model = 'assets/tiny-llama', requestsText = '150', shareText = '0.7', roundsText = '2'] = process.argv.slice(2);
const requests = Number(requestsText);
const long = { share: 0.2, tokens: 400 };
const shortTokens = 8;
const rows = 2;
if (haproxy === undefined) throw new Error('haproxy is not installed');

const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'linnet-routing-'));
const [front, statistics, agentPort] = [await freePort(), await freePort(), await freePort()];
const ports = [await freePort(), await freePort()];
const file = join(folder, 'haproxy.cfg');
let config = readFileSync(at('deploy/haproxy.cfg'), 'utf8')
  .replace('bind :8080', `bind 127.0.0.1:${front}`)
  .replace('bind :8404', `bind 127.0.0.1:${statistics}`)
  .replace('agent-port 8405', `agent-port ${agentPort}`);
for (const [place, port] of ports.entries())
  config = config.replaceAll(`linnet-${'ab'[place]}:8080`, `127.0.0.1:${port}`);

function start(command: string, ...words: (string | number)[]): ChildProcess {
  return spawn(command, words.map(String), { stdio: ['ignore', 'ignore', 'inherit'] });
}

const serve = [
  'serve',
  model,
  '--threads',
  1,
  '--engine',
  'inline',
  '--parallel',
  rows,
  '--quiet',
  '--max-queue',
  '4096',
];
const servers = ports.map((port) => start(process.execPath, at('dist/cli/main.js'), ...serve, '--port', port));
await Promise.all(ports.map((port, place) => listening(port, servers[place])));

/** Milliseconds to the first event; reads all of them. */
async function stream(port: number, tokens: number): Promise<number> {
  const body = { prompt: 'Once upon a time', max_tokens: tokens, temperature: 1, ignore_eos: true, stream: true };
  const headers = { 'content-type': 'application/json', connection: 'close' };
  const started = performance.now();
  const url = `http://127.0.0.1:${port}/v1/completions`;
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
  let first = 0;
  for await (const _ of response.body ?? []) if (first === 0) first = performance.now() - started;
  return first;
}

/** Tokens per second of both servers with all rows busy. */
async function capacity(): Promise<number> {
  const { tokens } = long;
  const started = performance.now();
  await Promise.all(ports.flatMap((port) => Array.from({ length: rows }, () => stream(port, tokens))));
  return (ports.length * rows * tokens * 1000) / (performance.now() - started);
}

/** Times to the first token for requests at random times. */
async function run(perSecond: number, seed: number): Promise<number[]> {
  const random = new Random(seed);
  const asked: Promise<number>[] = [];
  for (let count = 0; count < requests; count++) {
    await sleep((-1000 * Math.log(1 - random.uniform())) / perSecond);
    asked.push(stream(front, random.uniform() < long.share ? long.tokens : shortTokens));
  }
  return Promise.all(asked);
}

/** Prints times and returns their 99th percentile. */
function tell(name: string, list: readonly number[]): number {
  const sorted = list.toSorted((a, b) => a - b);
  const quantile = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  const [half, most] = [quantile(0.5), quantile(0.99)];
  console.log(`${name}: ${list.length} requests, median ${half.toFixed(0)} ms, 99th percentile ${most.toFixed(0)} ms`);
  return most;
}

const times = { turns: [] as number[], connections: [] as number[], load: [] as number[] };
try {
  for (const port of ports) await stream(port, long.tokens);
  const tokensPerSecond = await capacity();
  const meanTokens = long.share * long.tokens + (1 - long.share) * shortTokens;
  const perSecond = (Number(shareText) * tokensPerSecond) / meanTokens;
  console.log(`capacity ${tokensPerSecond.toFixed(0)} tokens/s; ${perSecond.toFixed(1)} requests/s`);
  for (let round = 0; round < Number(roundsText); round++) {
    for (const policy of ['turns', 'connections', 'load'] as const) {
      writeFileSync(file, policy === 'turns' ? config.replace('balance random(2)', 'balance roundrobin') : config);
      const balancer = start(haproxy, '-db', '-q', '-f', file);
      const agent = policy === 'load' ? [start(process.execPath, at('deploy/haproxy-agent.mjs'), agentPort)] : [];
      try {
        await listening(front, balancer);
        await sleep(1500);
        const list = await run(perSecond, 7 + round);
        tell(`round ${round + 1} by ${policy}`, list);
        times[policy].push(...list);
      } finally {
        await Promise.all([balancer, ...agent].map((child) => end(child)));
      }
    }
  }
  const most = Object.entries(times).map(([policy, list]) => tell(`by ${policy}`, list));
  console.log(`99th percentile by load: ${(100 * (most[2] / most[0] - 1)).toFixed(0)} %`);
} finally {
  await Promise.all(servers.map((server) => end(server)));
  rmSync(folder, { recursive: true, force: true });
}
