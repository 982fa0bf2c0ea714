/** A transfer by layers whose process is killed at random moments, resumed: the bytes of an unbroken one. */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, expect, it } from 'vitest';
import { transferInputs } from '../../src/conversion/layer-states.ts';
import { Random } from '../../src/random.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { linnet } from './captured-cli.ts';
import { startCli } from './cli-process.ts';
import { song } from './text-data.ts';

const folder = suiteFolder();
const words = (out: string, inputs: string): string[] => [
  ...['convert', join(folder, 'base'), '--data', join(folder, 'text.jsonl'), '--held-out', '2', '--batch', '2'],
  ...['--steps', '130,0,0', '--group', '4', '--threads', '1', '--inputs', inputs],
  ...['--length', '32', '--contexts', '64', '--out', join(folder, out)],
];
const weights = (out: string): Promise<Buffer> => readFile(join(folder, out, 'model.safetensors'));

beforeAll(async () => {
  await saveTinyModel(join(folder, 'base'), 1, 'llama');
  const texts = Array.from({ length: 12 }, (_, i) => `${JSON.stringify({ text: `${song} ${i}` })}\n`);
  await writeFile(join(folder, 'text.jsonl'), texts.join(''));
});

it.each(transferInputs)(
  'on hidden states of the %s model',
  async (inputs) => {
    const unbroken = await linnet(...words(`unbroken-${inputs}`, inputs));
    expect(unbroken.exitCode, unbroken.stderr).toBe(0);
    const out = `killed-${inputs}`;
    const random = new Random(5);
    let kills = 0;
    for (let attempt = 0; !existsSync(join(folder, out)); attempt++) {
      expect(attempt, 'attempts').toBeLessThan(9);
      const started = startCli([...words(out, inputs), ...(attempt === 0 ? [] : ['--resume'])]);
      if (attempt < 5) {
        while (!existsSync(join(folder, `${out}.run`, 'transfer')) && started.child.exitCode === null) await sleep(5);
        await sleep(random.integer(250 * (attempt + 1)));
        started.child.kill('SIGKILL');
      }
      const { signal, run } = await started.ended;
      if (signal === 'SIGKILL') kills++;
      else expect(run.exitCode, run.stderr).toBe(0);
    }
    expect(kills).toBeGreaterThanOrEqual(2);
    expect((await weights(out)).equals(await weights(`unbroken-${inputs}`))).toBe(true);
  },
  300_000,
);

it('is refused in a queue where a layer needs the one before it', async () => {
  const given = [...words('queued', 'converted'), '--queue', 'redis://127.0.0.1:1'];
  const { exitCode, stderr } = await linnet(...given);
  expect([exitCode, stderr]).toEqual([3, expect.stringContaining('in sequence')]);
});
