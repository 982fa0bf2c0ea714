/** deploy/haproxy-agent.mjs: what it tells haproxy of servers, and to which of them it gives the key. */
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { scratchFolder } from '../scratch-folder.ts';
import { end, freePort, listening } from './local-process.ts';

const script = fileURLToPath(new URL('../../deploy/haproxy-agent.mjs', import.meta.url));

async function startAgent(...words: string[]) {
  const port = await freePort();
  const child = spawn(process.execPath, [script, String(port), ...words], { stdio: ['ignore', 'ignore', 'pipe'] });
  onTestFinished(() => end(child));
  return { port, child, told: text(child.stderr) };
}

type Answer = (response: ServerResponse) => void;

/** A server that answers all requests alike, and the keys that it was sent. */
async function startServer(answer: string | Answer) {
  const keys: (string | undefined)[] = [];
  const port = await freePort();
  const server = createServer(({ headers }, response) => {
    keys.push(headers.authorization);
    if (typeof answer === 'string') response.end(answer);
    else answer(response);
  }).listen(port, '127.0.0.1');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  await listening(port);
  return { name: `127.0.0.1:${port}`, keys };
}

/** The answer to parts that are sent one after the other. */
async function ask(port: number, ...parts: string[]): Promise<string> {
  const socket = connect(port, '127.0.0.1').setNoDelay();
  socket.on('error', () => undefined);
  const answer = text(socket).catch(() => '');
  for (const part of parts) {
    socket.write(part);
    await sleep(20);
  }
  return answer;
}

/** Answers that end late, never, nowhere or elsewhere. */
function broken(other: string): Answer[] {
  const endless: Answer = (response) => {
    const more = (): unknown => response.write(' '.repeat(100_000), () => setImmediate(more));
    more();
  };
  return [
    endless,
    () => undefined,
    (response) => void response.write('{"server_load":'),
    (response) => response.destroy(),
    (response) => response.writeHead(302, { location: `http://${other}/load` }).end(),
  ];
}

it('gives weights by load, the least to servers that tell none, and the key to servers that are named', async () => {
  const [idle, busy] = [await startServer('{"server_load":1}'), await startServer('{"server_load":3}')];
  const odd = await Promise.all(
    ['{"server_load":-1}', '{"server_load":"2"}', 'null', 'x', '', ...broken(idle.name)].map(startServer),
  );
  const file = join(await scratchFolder(), 'keys');
  await writeFile(file, '# of the servers\n\nsecret\nother\n');
  const { port, child, told } = await startAgent(file, idle.name);
  await listening(port, child);
  expect(await ask(port, `${idle.name}\n`)).toBe('100%\n');
  expect(await ask(port, busy.name.slice(0, 9), `${busy.name.slice(9)}\n`)).toBe('50%\n');
  expect([idle.keys, busy.keys]).toEqual([['Bearer secret'], [undefined]]);
  const gone = `127.0.0.1:${await freePort()}`;
  for (const name of [...odd.map((server) => server.name), gone, gone])
    expect(await ask(port, `${name}\n`)).toBe('1%\n');
  for (const nothing of ['\n', 'http://a:1/\n', `a:1\nb:1\n`, 'x'.repeat(10_000)])
    expect(await ask(port, nothing)).toBe('');
  expect(await ask(port, `${busy.name}\n`)).toBe('50%\n');
  await end(child);
  // A server is complained of once.
  expect((await told).split('\n').filter((line) => line.startsWith(gone))).toHaveLength(1);
});

it('refuses a key for no server, and a file without one', async () => {
  const file = join(await scratchFolder(), 'keys');
  await writeFile(file, '# none\n');
  for (const [words, message] of [
    [[file], 'name the servers that get the key'],
    [[file, 'a:1'], 'holds no key'],
  ] as const) {
    expect(await (await startAgent(...words)).told).toContain(message);
  }
});
