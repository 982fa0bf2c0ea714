/** Studies and tasks on workers in processes of their own, one of which is killed: the results of one machine. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { end, needsRedis, noRedis, type RunningRedis, startRedis } from '../serving/local-process.ts';
import { linnet, runJson } from './captured-cli.ts';
import { startCli, type StartedCli } from './cli-process.ts';
import { timelessTrials, writeSmallStudy } from './small-study.ts';

const folder = suiteFolder();
const planFile = join(folder, 'plan.json');
const data = join(folder, 'data');
let redis: RunningRedis;
const workers: StartedCli[] = [];

beforeAll(async () => {
  await writeSmallStudy(folder, 40);
  const rows = Array.from({ length: 12 }, (_, i) => ({
    ...{ goal: `How do you carry ${i + 1} apples?`, sol1: 'In a basket.', sol2: `With ${i} spoons.`, label: i % 2 },
  }));
  await mkdir(join(data, 'piqa'), { recursive: true });
  await writeFile(join(data, 'piqa', 'validation.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  if (!noRedis) redis = await startRedis();
});
afterEach(() => Promise.all(workers.splice(0).map(({ child }) => end(child))));
afterAll(async () => {
  if (!noRedis) await redis.stop();
});

/** A worker; resolves when it waits for jobs. */
function startWorker(name: string, ...more: string[]): Promise<StartedCli> {
  return new Promise((resolve) => {
    const words = ['--queue', redis.url, '--folder', join(folder, name), '--lock', '2', '--threads', '1', ...more];
    const worker = startCli(['work', ...words], () => {
      resolve(worker);
    });
    workers.push(worker);
  });
}

/** Resolves when a worker has begun a job. */
function begun({ child }: StartedCli): Promise<void> {
  return new Promise((resolve) => {
    child.stderr?.on('data', (piece: Buffer) => {
      if (piece.toString().includes('began')) resolve();
    });
  });
}

describe.skipIf(noRedis)(`linnet work${needsRedis}`, () => {
  it('runs the trials of a study as one machine does, also when a worker is killed', async () => {
    const [alone, many] = [join(folder, 'alone'), join(folder, 'many')];
    const local = await linnet('study', 'sweep', '--plan', planFile, '--out', alone, '--threads', '1');
    expect(local.exitCode, local.stderr).toBe(0);
    const [first] = await Promise.all([startWorker('one'), startWorker('two')]);
    const jobFolders = (): Promise<string[]> => readdir(join(folder, 'one')).catch(() => []);
    const killing = begun(first).then(async () => {
      while ((await jobFolders()).length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
      await end(first.child);
    });
    const queued = await linnet(
      'study',
      'sweep',
      '--plan',
      planFile,
      '--out',
      many,
      '--threads',
      '1',
      '--queue',
      redis.url,
    );
    expect(queued.exitCode, queued.stderr).toBe(0);
    await killing;
    const expected = await timelessTrials(alone);
    expect(Object.keys(expected)).toHaveLength(3);
    expect(await timelessTrials(many)).toEqual(expected);
    // The killed worker left the folder of its job, which has been done since: the next one removes it.
    expect(await jobFolders()).toHaveLength(1);
    await startWorker('one');
    expect(await jobFolders()).toEqual([]);
    // All of it is in Redis: another folder has it without any work.
    for (const { child } of workers) await end(child);
    const again = await linnet(
      'study',
      'sweep',
      '--plan',
      planFile,
      '--out',
      join(folder, 'again'),
      '--queue',
      redis.url,
    );
    expect(again.exitCode, again.stderr).toBe(0);
    expect(await timelessTrials(join(folder, 'again'))).toEqual(expected);
  }, 180_000);

  it('answers tasks with the numbers of one machine, and gives its job back when it is told to stop', async () => {
    const words = ['eval', 'tasks', 'assets/tiny-llama', '--data', data, '--tasks', 'piqa', '--threads', '1'];
    const alone = await runJson(...words);
    const worker = await startWorker('three');
    const queued = await runJson(...words, '--queue', redis.url);
    expect(queued).toEqual(alone);
    const missing = await linnet(...words, '--queue', redis.url, '--data', join(folder, 'nowhere'));
    expect([missing.exitCode, missing.stderr]).toEqual([3, expect.stringMatching(/nowhere/)]);
    worker.child.kill('SIGTERM');
    const { run } = await worker.ended;
    expect([run.exitCode, run.stdout]).toEqual([0, expect.stringContaining('finished 1 jobs')]);
  }, 180_000);

  it('refuses a task whose model does not fit into its memory, and goes on', async () => {
    const words = ['eval', 'tasks', 'assets/tiny-llama', '--data', data, '--tasks', 'piqa', '--threads', '1'];
    const worker = await startWorker('small', '--memory', '200MiB');
    for (const limit of ['2', '3']) {
      const { exitCode, stderr } = await linnet(...words, '--limit', limit, '--queue', redis.url);
      expect([exitCode, stderr]).toEqual([3, expect.stringMatching(/failed on a worker: .* the limit is 200 MiB/)]);
    }
    worker.child.kill('SIGTERM');
    const { run } = await worker.ended;
    expect([run.exitCode, run.stdout]).toEqual([0, expect.stringContaining('finished 0 jobs')]);
  }, 180_000);

  it('trains the layers of a conversion as one machine does, also when a worker is killed', async () => {
    await saveTinyModel(join(folder, 'base'), 1, 'llama');
    const words = [
      ...['convert', join(folder, 'base'), '--data', join(folder, 'text.jsonl'), '--held-out', '2', '--batch', '2'],
      ...['--steps', '30,0,0', '--group', '4', '--contexts', '64', '--threads', '1'],
    ];
    const alone = await runJson(...words, '--out', join(folder, 'converted'));
    const [first] = await Promise.all([startWorker('four'), startWorker('five')]);
    const killing = begun(first).then(() => end(first.child));
    const queued = await runJson(...words, '--out', join(folder, 'converted-by-many'), '--queue', redis.url);
    await killing;
    const stages = (json: Record<string, unknown>): unknown =>
      (json.stages as Record<string, unknown>[]).map(({ seconds: _, ...stage }) => stage);
    expect(stages(queued)).toEqual(stages(alone));
    expect(stages(alone)).toContainEqual(expect.objectContaining({ name: 'transfer', steps: 30 }));
    const weights = (name: string): Promise<Buffer> => readFile(join(folder, name, 'model.safetensors'));
    expect((await weights('converted-by-many')).equals(await weights('converted'))).toBe(true);
  }, 180_000);

  it('needs an address of Redis', async () => {
    const { exitCode, stderr } = await linnet('work', '--queue', '127.0.0.1');
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining('redis://')]);
    expect((await linnet('work', '--queue', 'redis://127.0.0.1:1')).stderr).toMatch(/cannot connect to Redis at/);
  });
});
