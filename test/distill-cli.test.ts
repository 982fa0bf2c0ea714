/** Attention transfer from the command line: it lowers the distance to the teacher, changes mixers alone, and resumes. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadCausalModel } from '../src/checkpoint/load-model.ts';
import { lastJson, runCaptured } from './captured-cli.ts';
import { suiteFolder } from './scratch-folder.ts';
import { saveTinyModel } from './tiny-model.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);
beforeAll(async () => {
  const line = `${JSON.stringify({ text: 'the linnet sings on the wire while the wind goes round the house' })}\n`;
  await writeFile(at('text.jsonl'), line.repeat(12));
});

async function ok(...words: string[]): Promise<Record<string, unknown>> {
  const run = await runCaptured([...words, '--json']);
  expect(run.stderr, words.join(' ')).not.toMatch(/^linnet: /m);
  expect(run.exitCode).toBe(0);
  return lastJson(run);
}

const settings = (...more: string[]): string[] => [
  ...[
    '--data',
    at('text.jsonl'),
    '--steps',
    '30',
    '--lr',
    '2e-2',
    '--batch',
    '4',
    '--length',
    '21',
    '--seed',
    '3',
    ...more,
  ],
];

async function losses(out: string): Promise<number[]> {
  const lines = (await readFile(join(`${out}.run`, 'metrics.jsonl'), 'utf8')).trim().split('\n');
  return lines.map((line) => Number(/"loss":([\d.e+-]+)/.exec(line)?.[1]));
}

describe.each(['llama', 'gpt2'])('%s', (family) => {
  beforeAll(async () => {
    await saveTinyModel(at(family), 1, family);
    await ok('linearize', at(family), '--mixer', 'hedgehog', '--layers', '1', '--out', at(`${family}-student`));
  });

  it.each([
    ['mixers', [], /feature/],
    ['queries and keys too', ['--train-qk'], /feature|q_proj|k_proj|c_attn/],
  ])('trains %s, and comes closer to the teacher', async (name, options, expected) => {
    const out = at(`${family}-${name}`);
    const told = await ok('distill', at(family), at(`${family}-student`), ...options, ...settings('--out', out));
    expect(told.layers).toEqual([1]);
    const found = await losses(out);
    expect(found[found.length - 1]).toBeLessThan(0.8 * found[0]);
    const [before, after] = [await loadCausalModel(at(`${family}-student`)), await loadCausalModel(out)];
    const changed = [...before.parameters].filter(
      ([key, { data }]) => String(data) !== String(after.parameters.get(key)?.data),
    );
    expect(changed.length).toBeGreaterThan(0);
    for (const [key] of changed) {
      expect(key.startsWith(before.model.attentionPrefix(1)), key).toBe(true);
      expect(key).toMatch(expected);
    }
  });
});

describe('a run', () => {
  it('is resumed to the same bytes', async () => {
    const [whole, resumed] = [at('whole'), at('resumed')];
    const command = ['distill', at('llama'), at('llama-student'), ...settings('--snapshot-every', '20')];
    await ok(...command, '--out', whole);
    await ok(...command, '--out', resumed);
    await rm(resumed, { recursive: true });
    await rm(join(`${resumed}.run`, 'snapshots', 'update-000000030.safetensors'));
    await ok(...command, '--out', resumed, '--resume');
    const weights = await Promise.all([whole, resumed].map((path) => readFile(join(path, 'model.safetensors'))));
    expect(weights[0].equals(weights[1])).toBe(true);
  });

  it('refuses models that are not of each other', async () => {
    await saveTinyModel(at('stranger'), 2, 'llama');
    const words = (student: string): string[] => [
      'distill',
      at('stranger'),
      student,
      ...settings('--out', at('refused')),
    ];
    expect((await runCaptured(words(at('llama-student')))).stderr).toMatch(/differs between teacher and student/);
    expect((await runCaptured(words(at('llama')))).stderr).toMatch(/have the same mixers/);
    expect((await runCaptured(words(at('gpt2-student')))).stderr).toMatch(/not the same model up to their mixers/);
  });
});
