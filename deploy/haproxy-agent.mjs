/**
 * haproxy weights from the servers' loads, so that requests go where there is room. haproxy.cfg asks for them ("agent-check")
 * with a server's HOST:PORT; without this agent, all servers weigh the same.
 *
 *     node deploy/haproxy-agent.mjs [PORT, default 8405] [file with the API key, HOST:PORT of each server that gets it]
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

const [port = '8405', keyFile, ...trusted] = process.argv.slice(2);
// Any program on this machine may ask the agent, and could direct the key to itself.
if (keyFile !== undefined && trusted.length === 0) throw new Error(`name the servers that get the key of ${keyFile}`);
/** The first key, parsed as in `linnet serve --api-key-file`. */
const key = (keyFile === undefined ? '' : readFileSync(keyFile, 'utf8'))
  .split('\n')
  .map((line) => line.trim())
  .find((line) => line !== '' && !line.startsWith('#'));
if (keyFile !== undefined && key === undefined) throw new Error(`${keyFile} holds no key`);

/** The servers' latest loads. */
const loads = new Map();
/** Servers that failed to report a load when last asked. */
const silent = new Set();

/** A server's weight in percent: 100 for the lowest load, 1 if it reports no load in time. */
async function weightOf(server) {
  const headers = trusted.includes(server) ? { authorization: `Bearer ${key}` } : {};
  try {
    const signal = AbortSignal.timeout(500);
    const { status, body } = await fetch(`http://${server}/load`, { headers, signal, redirect: 'error' });
    let told = '';
    for await (const part of body?.pipeThrough(new TextDecoderStream()) ?? []) {
      if ((told += part).length > 1000) throw new Error('the answer is too long for a load');
    }
    const { server_load: load } = JSON.parse(told);
    if (!Number.isFinite(load) || load < 0) throw new Error(`no load, but status ${status}`);
    loads.set(server, load);
    silent.delete(server);
    return Math.max(1, Math.round((100 * (1 + Math.min(...loads.values()))) / (1 + load)));
  } catch (error) {
    loads.delete(server);
    if (!silent.has(server)) console.error(`${server}: ${error.message}`);
    silent.add(server);
    return 1;
  }
}

createServer((socket) => {
  let asked = '';
  socket.setTimeout(2000, () => socket.destroy());
  socket.on('error', () => undefined);
  socket.setEncoding('latin1').on('data', async (part) => {
    if (asked.includes('\n')) return;
    asked += part;
    if (asked.length > 300) socket.destroy();
    else if (asked.includes('\n')) {
      const server = /^[\w.-]+:\d+$/.exec(asked.trim())?.[0];
      socket.end(server === undefined ? '' : `${await weightOf(server)}%\n`);
    }
  });
}).listen(Number(port), '127.0.0.1');
