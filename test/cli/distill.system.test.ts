/** Attention transfer from the command line: it lowers the distance to the teacher, changes mixers alone, and resumes. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { runCaptured, runJson } from './captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { song, writeJsonlTexts } from './text-data.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { changedParameters, expectSameAfterResume, losses } from './trained-runs.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);
beforeAll(async () => {
  await writeJsonlTexts(at('text.jsonl'), new Array<string>(12).fill(song));
});

const settings = (...more: string[]): string[] => {
  const sizes = ['--steps', '30', '--lr', '2e-2', '--batch', '4', '--length', '21', '--seed', '3'];
  return ['--data', at('text.jsonl'), ...sizes, ...more];
};

describe.each(['llama', 'gpt2'])('%s', (family) => {
  beforeAll(async () => {
    await saveTinyModel(at(family), 1, family);
    await runJson('linearize', at(family), '--mixer', 'hedgehog', '--layers', '1', '--out', at(`${family}-student`));
  });

  it.each([
    ['mixers', [], /feature/],
    ['queries and keys too', ['--train-qk'], /feature|q_proj|k_proj|c_attn/],
  ])('trains %s, and comes closer to the teacher', async (name, options, expected) => {
    const out = at(`${family}-${name}`);
    const reported = await runJson(
      'distill',
      at(family),
      at(`${family}-student`),
      ...options,
      ...settings('--out', out),
    );
    expect(reported.layers).toEqual([1]);
    const found = await losses(out);
    expect(found[found.length - 1]).toBeLessThan(0.8 * found[0]);
    const { model } = await loadCausalModel(out);
    const changed = await changedParameters(at(`${family}-student`), out);
    expect(changed.length).toBeGreaterThan(0);
    for (const key of changed) {
      expect(key.startsWith(model.attentionPrefix(1)), key).toBe(true);
      expect(key).toMatch(expected);
    }
  });
});

it('by logits trains the changed attention, and resumes to the same bytes', async () => {
  const command = [
    'distill',
    at('llama'),
    at('llama-student'),
    '--stage',
    'logits',
    ...settings('--snapshot-every', '20'),
  ];
  await runJson(...command, '--out', at('taught'));
  const found = await losses(at('taught'));
  expect(found[found.length - 1]).toBeLessThan(0.75 * found[0]);
  const changed = await changedParameters(at('llama-student'), at('taught'));
  expect(changed.some((name) => name.endsWith('v_proj.weight'))).toBe(true);
  expect(changed.every((name) => name.startsWith('model.layers.1.self_attn.'))).toBe(true);
  await expectSameAfterResume(command, at('taught'));
});

describe('a run', () => {
  it('is resumed to the same bytes', async () => {
    const command = ['distill', at('llama'), at('llama-student'), ...settings('--snapshot-every', '20')];
    await runJson(...command, '--out', at('whole'));
    await expectSameAfterResume(command, at('whole'));
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
    const swapped = ['distill', at('llama-student'), at('llama'), ...settings('--out', at('refused'))];
    expect((await runCaptured(swapped)).stderr).toMatch(/are swapped.*give the original first/);
    expect((await runCaptured(words(at('gpt2-student')))).stderr).toMatch(/differ in more than their mixers/);
  });
});

it.each([
  ['distill', [at('llama'), at('llama-student')]],
  ['distill --stage logits', [at('llama'), at('llama-student')]],
  ['distill --stage layers', [at('llama'), at('llama-student')]],
  ['finetune', [at('llama')]],
  ['finetune --lora r=2', [at('llama')]],
])('%s --plan says memory, form, disk and time, and does nothing else', async (words, models) => {
  const [command, ...options] = words.split(' ');
  const out = ['--memory', '1GiB', '--plan', '--out', at('planned')];
  const result = await runJson(command, ...models, ...options, ...settings(...out));
  const plan = result.plan as { memoryLimitBytes: number; summary?: string; stages: Record<string, unknown>[] };
  expect(plan.memoryLimitBytes).toBe(2 ** 30);
  if (words.includes('--lora'))
    expect(plan.summary).toMatch(/; updates of rank 2 .*, saved merged, as a model in F32$/);
  const isByLayers = words.endsWith('layers');
  const form = isByLayers ? 'layers' : 'whole';
  const name = isByLayers ? form : command;
  expect(plan.stages).toMatchObject([{ name, form, length: 21, batch: 4, tokens: 30 * 4 * 21 }]);
  for (const name of ['memoryBytes', 'diskBytes', 'seconds']) expect(plan.stages[0][name]).toBeGreaterThan(0);
  for (const made of ['planned', 'planned.run']) expect(existsSync(at(made))).toBe(false);
});
