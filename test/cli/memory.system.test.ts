/** `--memory`: work that cannot fit is refused before it starts, by every command that has a model in memory. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { linearizedModels } from '../models/linearized-models.ts';
import { linnet, runJson } from './captured-cli.ts';
import { writeBook } from './text-data.ts';

const { folder, base, augmented } = linearizedModels();
const book = join(folder, 'book.txt');
const out = join(folder, 'never');

beforeAll(async () => {
  await writeBook(book, 60);
});

const training = ['--data', book, '--length', '16', '--batch', '2', '--steps', '2', '--lr', '1e-3', '--out', out];

const commands: Readonly<Record<string, readonly string[]>> = {
  convert: ['convert', base, '--data', book, '--steps', '2,0,0', '--out', out],
  'convert without training': ['convert', base, '--data', book, '--steps', '0,0,0', '--out', out],
  finetune: ['finetune', base, ...training],
  distill: ['distill', base, augmented, ...training],
  'distill by layers': ['distill', base, augmented, '--stage', 'layers', ...training],
  'eval perplexity': ['eval', 'perplexity', base, '--data', book, '--length', '16'],
  'eval agreement': ['eval', 'agreement', base, augmented, '--data', book],
  'eval positions': ['eval', 'positions', '--models', base, '--data', book, '--length', '64'],
  check: ['check', base],
  generate: ['generate', base, '--prompt', 'a'],
  chat: ['chat', base],
  serve: ['serve', base, '--port', '0'],
};

describe('--memory', () => {
  it.each(Object.entries(commands))('refuses %s', async (_, words) => {
    const run = await linnet(...words, '--memory', '20MiB');
    expect(run.exitCode).toBe(3);
    expect(run.stderr).toMatch(/the limit is 20(\.0)? MiB/);
    await expect(access(out)).rejects.toThrow();
  });

  it('refuses a plan that cannot hold, and says the form of each stage of one that can', async () => {
    const words = ['convert', base, '--data', book, '--steps', '2,2,0', '--out', out, '--plan'];
    expect((await linnet(...words, '--memory', '20MiB')).exitCode).toBe(3);
    const { plan } = await runJson(...words, '--memory', 'learned,4GiB');
    expect(plan).toMatchObject({ memoryLimitBytes: 4 * 2 ** 30 });
    expect(plan).toHaveProperty('stages.0.form', 'whole');
    expect(plan).toHaveProperty('stages.2', expect.objectContaining({ name: 'transfer', form: 'layers' }));
    const trained = await runJson('finetune', base, ...training, '--plan', '--memory', '2GiB');
    expect(trained).toHaveProperty('plan.stages.0.form', 'whole');
  });
});
