/** Parts of a conversion and of a study in processes of their own, one of which is killed: the bytes of one machine. */
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { needsS3, noS3, type RunningS3, startS3 } from '../jobs/s3-server.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { end } from '../serving/local-process.ts';
import { jsonOf, linnet, runJson } from './captured-cli.ts';
import { startCli, type StartedCli } from './cli-process.ts';
import { timelessTrials, writeSmallStudy } from './small-study.ts';

const folder = suiteFolder();
const workers: StartedCli[] = [];
let s3: RunningS3 | undefined;

beforeAll(async () => {
  if (!noS3) s3 = await startS3();
  for (const [name, value] of Object.entries(s3?.environment ?? {})) vi.stubEnv(name, value);
  await writeSmallStudy(folder, 10);
});
afterEach(() => Promise.all(workers.splice(0).map(({ child }) => end(child))));
afterAll(async () => {
  vi.unstubAllEnvs();
  await s3?.stop();
});

function convertWords(out: string): string[] {
  return [
    ...['convert', 'assets/tiny-llama', '--data', join(folder, 'text.jsonl'), '--held-out', '2', '--batch', '2'],
    ...['--steps', '20,2,0', '--group', '8', '--length', '64', '--contexts', '64', '--threads', '1'],
    ...['--out', join(folder, out)],
  ];
}

const weights = (out: string): Promise<Buffer> => readFile(join(folder, out, 'model.safetensors'));

/** Starts a worker for a part. */
function startPart(planFile: string, index: number, store: string): StartedCli {
  const part = ['--plan-file', planFile, '--index', `${index}/3`, '--store', store];
  const worker = startCli(['work', ...part, '--threads', '1', '--json']);
  workers.push(worker);
  return worker;
}

/** Resolves when a file or folder is there. */
async function exists(path: string): Promise<void> {
  while (!existsSync(path)) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function finished(worker: StartedCli): Promise<Record<string, unknown>> {
  const { run } = await worker.ended;
  expect(run.exitCode, run.stderr).toBe(0);
  return JSON.parse(run.stdout) as Record<string, unknown>;
}

describe('linnet work --plan-file', () => {
  let alone: Record<string, unknown>;
  beforeAll(async () => {
    alone = await runJson(...convertWords('alone'));
  }, 120_000);

  const stores = [
    { out: 'by-folder', where: 'a folder', placeOf: () => join(folder, 'results'), isMissing: false },
    { out: 'by-bucket', where: `a bucket${needsS3}`, placeOf: () => `s3://${s3?.bucket}/conversion`, isMissing: noS3 },
  ];
  for (const { out, where, placeOf, isMissing } of stores) {
    it.skipIf(isMissing)(
      `converts in parts, one of them killed, with ${where}`,
      async () => {
        const store = placeOf();
        const planFile = join(folder, `${out}.json`);
        await writeFile(planFile, JSON.stringify(await runJson(...convertWords(out), '--plan')));
        const killed = startPart(planFile, 0, store);
        const others = [1, 2].map((index) => startPart(planFile, index, store));
        const own = `${join(folder, out)}.run.part-0-of-3`;
        await exists(join(own, 'transfer', 'layer-0'));
        await end(killed.child);
        for (const other of others) await finished(other);
        const again = await finished(startPart(planFile, 0, store));
        expect((again.layers as { layer: number }[]).map(({ layer }) => layer)).toEqual([0, 1, 2, 3, 4]);
        expect(await readdir(own)).not.toContain('best');
        const gathered = await runJson('work', '--plan-file', planFile, '--store', store);
        const stages = (json: Record<string, unknown>): unknown =>
          (json.stages as Record<string, unknown>[]).map(({ seconds: _, ...stage }) => stage);
        expect(stages(gathered)).toEqual(stages(alone));
        expect((await weights(out)).equals(await weights('alone'))).toBe(true);
      },
      240_000,
    );
  }
});

describe('parts of a study', () => {
  const part = (name: string, ...words: string[]) =>
    linnet(
      'study',
      'sweep',
      '--plan',
      join(folder, 'plan.json'),
      '--out',
      join(folder, name),
      '--threads',
      '1',
      ...words,
    );
  const store = ['--store', join(folder, 'trials')];
  const trials = (name: string): Promise<Record<string, string>> => timelessTrials(join(folder, name));

  it('are gathered from the store', async () => {
    expect((await part('alone-study')).exitCode).toBe(0);
    const first = jsonOf(await part('study', ...store, '--index', '0/2', '--json'));
    expect(first).toMatchObject({ share: { index: 0, count: 2 }, trials: 2, of: 3 });
    jsonOf(await part('study', ...store, '--index', '1/2', '--json'));
    expect(await readdir(join(folder, 'study.part-1-of-2', 'trials'))).toHaveLength(1);
    const gathered = await part('study', ...store);
    expect(gathered.exitCode, gathered.stderr).toBe(0);
    expect(Object.keys(await trials('study'))).toHaveLength(3);
    expect(await trials('study')).toEqual(await trials('alone-study'));
  }, 60_000);

  it.each<[string, unknown, string, number, RegExp]>([
    ['no plan', undefined, '', 2, /either --queue or --plan-file/],
    ['no store', { command: ['study'] }, '', 2, /--plan-file needs --store/],
    ['a part that is none', { command: ['study'] }, '--store x --index 3/3', 2, /counted from 0/],
    ['a bucket without a name', { command: ['study', 'leak'] }, '--store s3://x', 3, /s3:\/\/name\/prefix/],
    [
      'a part of a queue',
      undefined,
      '--queue redis://127.0.0.1:1 --index 0/3',
      2,
      /--index and --store need --plan-file/,
    ],
    [
      'a model that is missing, and no number of threads but the own one',
      { command: ['convert', 'nowhere', '--data', 'x', '--out', 'y', '--threads', '9999'] },
      '--store x --threads 1',
      3,
      /nowhere/,
    ],
    ['a file that is no plan', { words: [] }, '--store x', 3, /is not a plan/],
    ['a command without parts', { command: ['clean', '.'] }, '--store x', 3, /is not a plan/],
    [
      'a stage in seconds',
      { command: convertWords('x').filter((word) => !/steps|20,2,0/.test(word)) },
      '--store x',
      2,
      /steps/,
    ],
    [
      'layers one after the other',
      { command: [...convertWords('x'), '--inputs', 'converted'] },
      '--store x',
      2,
      /inputs/,
    ],
  ])('refuses %s', async (name, plan, words, code, message) => {
    const file = join(folder, `${name}.json`);
    if (plan !== undefined) await writeFile(file, JSON.stringify(plan));
    const given = plan === undefined ? [] : ['--plan-file', file];
    const { exitCode, stderr } = await linnet('work', ...given, ...words.split(' ').filter((word) => word !== ''));
    expect([exitCode, stderr]).toEqual([code, expect.stringMatching(message)]);
  });
});
