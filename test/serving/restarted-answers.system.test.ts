/** A restart changes no bit of an answer, and /props says so, where the model's mixers allow it. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { linnet } from '../cli/captured-cli.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { restartedAnswers } from './restarted-answers.ts';
import { tinyLlamaFolder } from './served.ts';

const beginning = 'Once upon a time there was a whale that nobody had seen. '.repeat(4);
const texts = [
  [beginning, ' The captain said'],
  [beginning.slice(0, 31), ' and then the sea'],
] as const;

async function exported(mixer: readonly string[], folder: string): Promise<string> {
  const [linear, out] = ['linear', 'export'].map((name) => join(folder, name));
  for (const words of [
    ['linearize', tinyLlamaFolder, '--mixer', ...mixer, '--out', linear],
    ['export', linear, '--dtype', 'int4', '--out', out],
  ]) {
    const { exitCode, stderr } = await linnet(...words);
    expect(exitCode, stderr).toBe(0);
  }
  return out;
}

it('answers have the same bits after a restart', async () => {
  const folder = await scratchFolder();
  const found = await restartedAnswers(await exported(['augmented'], folder), texts, folder);
  expect(found).toEqual({ sameBits: true, answers: 2, differ: 0 });
});

it('/props says where they are equal up to rounding', async () => {
  const folder = await scratchFolder();
  const { sameBits } = await restartedAnswers(await exported(['rfa', '--features', '10'], folder), [texts[1]], folder);
  expect(sameBits).toBe(false);
});
