/** Programs that tests start on this machine, on free ports, gone when the test or the suite is over. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const redisServer = ['/usr/bin/redis-server', '/usr/bin/valkey-server', '/usr/local/bin/redis-server'].find(existsSync);
export const haproxy = ['/usr/sbin/haproxy', '/usr/local/sbin/haproxy'].find(existsSync);

export const noRedis = redisServer === undefined;
/** What to put into the title of a test that needs Redis. */
export const needsRedis = noRedis ? ' (skipped: there is no redis-server)' : '';

/** A port that nobody listens on. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => {
        if (address !== null && typeof address === 'object') resolve(address.port);
      });
    });
  });
}

/** Resolves once something accepts connections on a port of this machine. */
export async function listening(port: number, child?: ChildProcess): Promise<void> {
  const deadline = performance.now() + 120_000;
  for (;;) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => {
        resolve(false);
      });
    });
    if (open) return;
    if (performance.now() > deadline || (child !== undefined && child.exitCode !== null)) {
      throw new Error(`nothing listens on port ${port}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Ends a program and waits until it is gone. */
export async function end(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => {
    child.once('exit', () => {
      resolve();
    });
  });
  child.kill(signal);
  await gone;
}

export interface RunningRedis {
  readonly url: string;
  readonly signal: (name: 'SIGSTOP' | 'SIGCONT') => void;
  stop(): Promise<void>;
}

/** Starts a Redis that keeps nothing on disk. */
export async function startRedis(): Promise<RunningRedis> {
  if (redisServer === undefined) throw new Error('there is no redis-server');
  const folder = await mkdtemp(join(tmpdir(), 'linnet-redis-'));
  const port = await freePort();
  const words = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no'];
  const child = spawn(redisServer, words, { stdio: 'ignore' });
  await listening(port, child);
  return {
    url: `redis://127.0.0.1:${port}`,
    signal: (name) => child.kill(name),
    async stop() {
      await end(child);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
