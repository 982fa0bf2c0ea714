/**
 * Weights for haproxy by the load of the servers, so that a request goes where there is room. haproxy.cfg asks it ("agent-check")
 * with HOST:PORT of a server; without it, all servers have the same weight.
 *
 *     node deploy/haproxy-agent.mjs [PORT, default 8405] [file with the API key]
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

const [port = '8405', keyFile] = process.argv.slice(2);
const key = keyFile === undefined ? '' : readFileSync(keyFile, 'utf8').split('\n')[0].trim();
const headers = key === '' ? {} : { authorization: `Bearer ${key}` };

/** The loads that servers told last. */
const loads = new Map();

/** Percent of a server's weight: 100 for the least load. A server that does not tell its load in time gets little. */
async function weightOf(server) {
  try {
    const answer = await fetch(`http://${server}/load`, { headers, signal: AbortSignal.timeout(500) });
    const { server_load: load } = await answer.json();
    if (!Number.isFinite(load)) throw new Error(`${server} told no load: ${answer.status}`);
    loads.set(server, load);
    return Math.max(1, Math.round((100 * (1 + Math.min(...loads.values()))) / (1 + load)));
  } catch {
    loads.delete(server);
    return 1;
  }
}

createServer((socket) => {
  socket.setTimeout(2000, () => socket.destroy());
  socket.on('error', () => undefined);
  socket.once('data', async (asked) => {
    const server = /^[\w.-]+:\d+$/.exec(asked.toString().trim())?.[0];
    socket.end(server === undefined ? '' : `${await weightOf(server)}%\n`);
  });
}).listen(Number(port), '127.0.0.1');
