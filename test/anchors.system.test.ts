/** `bench/anchors/published.ts`: a checkpoint from a local hub and one of a folder, converted and compared; and given again. */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { hubWithModel, id } from './imitated-hub.ts';
import { scratchFolder } from './scratch-folder.ts';

const script = fileURLToPath(new URL('../bench/anchors/published.ts', import.meta.url));
const model = fileURLToPath(new URL('../assets/tiny-llama', import.meta.url));

it('downloads, converts, compares, and finds its results again', async () => {
  const { hub, endpoint } = await hubWithModel();
  hub.files.clear();
  const folder = await scratchFolder();
  await mkdir(join(folder, 'local'));
  for (const name of await readdir(model)) {
    hub.files.set(name, await readFile(join(model, name)));
    await copyFile(join(model, name), join(folder, 'local', name));
  }
  const line = 'The people of the United States have reason to be grateful for the peace of the year. ';
  const documents = Array.from({ length: 40 }, (_, i) => JSON.stringify({ text: `${i} ${line.repeat(6)}` }));
  await writeFile(join(folder, 'text.jsonl'), `${documents.join('\n')}\n`);
  const words = [
    '--import',
    'tsx',
    script,
    join(folder, 'out'),
    '--data',
    join(folder, 'text.jsonl'),
    '--steps',
    '1,1,0',
  ];
  const small = ['--models', `${id},${join(folder, 'local')}`, '--batch', '1', '--length', '32', '--prompts', '2'];
  const run = () =>
    promisify(execFile)(process.execPath, [...words, ...small], { env: { ...process.env, HF_ENDPOINT: endpoint } });
  const first = await run();
  const results: unknown = JSON.parse(await readFile(join(folder, 'out', 'results.json'), 'utf8'));
  const share = z.number().min(0).max(1);
  const cost = z.object({ original: z.number().min(1), converted: z.number().min(1), sameNext: share });
  const [fromHub, local] = z.tuple([cost, cost]).parse(results);
  expect(fromHub).toEqual(local);
  expect(Math.abs(fromHub.converted / fromHub.original - 1)).toBeLessThan(0.5);
  expect(first.stdout.split('\n').slice(2, 4).join('\n')).toMatch(/^owner\/model .*\n.*local /);
  const asked = hub.log.length;
  expect((await run()).stdout).toBe(first.stdout);
  expect(hub.log.length).toBe(asked);
}, 300_000);
