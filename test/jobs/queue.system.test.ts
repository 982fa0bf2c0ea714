/** The queue of jobs under workers that are killed and that stand still: every job has its result, once. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { runJobs } from '../../src/jobs/queue.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { needsRedis, noRedis, startRedis } from '../serving/local-process.ts';

/** A worker that doubles numbers, with a sign of life every half second. */
const script = `
import { setTimeout } from 'node:timers/promises';
import { takeJobs } from './src/jobs/queue.ts';
const [url, folder] = process.argv.slice(-2);
const double = async ({ number }) => (await setTimeout(100), { twice: 2 * number });
await takeJobs(url, { double }, { signal: new AbortController().signal, folder, lock: 1, onReady: () => console.log('ready') });
`;

it.skipIf(noRedis)(
  `every job has its result once, whatever happens to workers${needsRedis}`,
  async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    const folder = join(await scratchFolder(), 'jobs');
    const cwd = fileURLToPath(new URL('../..', import.meta.url));
    const start = async () => {
      const flags = ['--import', 'tsx', '--input-type=module', '--eval', script];
      const child = spawn(process.execPath, [...flags, redis.url, folder], {
        cwd,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      onTestFinished(() => void child.kill('SIGKILL'));
      await new Promise((ready) => child.stdout.once('data', ready));
      return child;
    };
    const warnings: string[] = [];
    const warned = ({ message }: Error): void => void warnings.push(message);
    process.on('warning', warned);
    onTestFinished(() => void process.off('warning', warned));
    const [killed, still] = await Promise.all([start(), start()]);
    const results: unknown[][] = [];
    const jobs = Array.from({ length: 40 }, (_, number) => ({ kind: 'double', data: { number }, title: `${number}` }));
    const all = runJobs(redis.url, jobs, { onResult: (index, result) => void (results[index] ??= []).push(result) });
    await setTimeout(500);
    killed.kill('SIGKILL');
    still.kill('SIGSTOP');
    await setTimeout(1500);
    await start();
    await setTimeout(500);
    still.kill('SIGCONT');
    await all;
    expect(results).toEqual(jobs.map(({ data }) => [{ twice: 2 * data.number }]));
    expect(warnings).toEqual([]);
  },
  60_000,
);
