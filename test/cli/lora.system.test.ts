/** Low-rank fine-tuning from the command line: what it changes and leaves alone, its two forms of result, and resuming. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { WRITTEN_FILES } from '../../src/files/written-folder.ts';
import { openSafetensors } from '../../src/checkpoint/safetensors/reader.ts';
import { runCaptured, runJson } from './captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { song, writeJsonlTexts } from './text-data.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { changedParameters, cutShort, expectSameWeights } from './trained-runs.ts';

const folder = suiteFolder();
const data = join(folder, 'text.jsonl');
beforeAll(async () => {
  await writeJsonlTexts(data, new Array<string>(12).fill(song));
});

const tune = (model: string, out: string, ...more: string[]): string[] => {
  const sizes = ['--steps', '6', '--lr', '2e-2', '--batch', '4', '--length', '21', '--seed', '3'];
  return ['finetune', model, '--data', data, ...sizes, '--out', out, ...more];
};

describe.each([
  ['llama', 'q,v', ['q_proj.weight', 'v_proj.weight'], /norm/],
  ['gpt2', 'c_attn,mlp.c_proj', ['attn.c_attn.weight', 'mlp.c_proj.weight'], /ln_/],
])('%s', (family, targets, matrices, norms) => {
  let base = '';
  beforeAll(async () => {
    const softmax = join(folder, `${family}-softmax`);
    base = join(folder, `${family}-augmented`);
    await saveTinyModel(softmax, 1, family);
    await runJson('linearize', softmax, '--mixer', 'augmented', '--group', '8', '--kernel', '5', '--out', base);
  });

  it('trains updates of the targets and the groups that are named, and nothing else', async () => {
    const out = join(folder, `${family}-merged`);
    const reported = await runJson(
      ...tune(base, out, '--lora', `r=2,targets=${targets}`, '--lora-train', 'norms,mixers'),
    );
    expect(reported.steps).toBe(6);
    const names = await changedParameters(base, out);
    const isMixer = (name: string): boolean => /global_factor|dwconv/.test(name);
    const isExpected = (name: string): boolean =>
      matrices.some((end) => name.endsWith(end)) || norms.test(name) || isMixer(name);
    expect(names.filter((name) => !isExpected(name))).toEqual([]);
    for (const end of matrices) expect(names.filter((name) => name.endsWith(end))).toHaveLength(2);
    expect(names.some((name) => norms.test(name))).toBe(true);
    expect(names.some(isMixer)).toBe(true);
  });

  it('saves an adapter that merges to the same model, and keeps moments of what is trained alone', async () => {
    const [merged, adapter, again] = ['m', 'a', 'g'].map((end) => join(folder, `${family}-${end}`));
    const lora = ['--lora', `r=3,alpha=5,targets=${targets}`, '--lora-train', 'mixers,norms'];
    await runJson(...tune(base, merged, ...lora));
    await runJson(...tune(base, adapter, ...lora, '--lora-save', 'adapter'));
    expect((await readdir(adapter)).sort()).toEqual([
      WRITTEN_FILES,
      'adapter_config.json',
      'adapter_model.safetensors',
      'linnet_parameters.safetensors',
    ]);
    await runJson('merge', base, adapter, '--out', again);
    await expectSameWeights(merged, again);
    const snapshot = await openSafetensors(join(`${adapter}.run`, 'snapshots', 'update-000000006.safetensors'));
    const trained = snapshot.names().filter((name) => name.startsWith('first '));
    await snapshot.close();
    expect(trained.some((name) => name.includes('lora_A'))).toBe(true);
    expect(trained.filter((name) => /embed|wte|up_proj|c_fc/.test(name))).toEqual([]);
  });
});

describe('a run', () => {
  it('is resumed to the same bytes, and not with another rank', async () => {
    const base = join(folder, 'llama-softmax');
    const [unbroken, stopped] = ['unbroken', 'stopped'].map((name) => join(folder, name));
    const lora = ['--lora', 'r=2,targets=q,o'];
    await runJson(...tune(base, unbroken, ...lora, '--snapshot-every', '2'));
    await runJson(...tune(base, stopped, ...lora, '--snapshot-every', '2'));
    await cutShort(stopped);
    const other = await runCaptured(
      tune(base, stopped, '--lora', 'r=2,targets=q,v', '--snapshot-every', '2', '--resume'),
    );
    expect(other.stderr).toMatch(/another model|readable/);
    await runJson(...tune(base, stopped, ...lora, '--snapshot-every', '2', '--resume'));
    await expectSameWeights(unbroken, stopped);
  });

  it.each([
    [['--lora', 'r=0'], /--lora is/],
    [['--lora', 'q,v'], /--lora is/],
    [['--lora', 'targets=nothing'], /no matrix of the model is named "nothing"; there are q_proj/],
    [['--lora-train', 'norms'], /--lora-train needs --lora/],
    [['--lora-save', 'adapter'], /needs --lora/],
    [['--lora', 'r=2', '--lora-train', 'all'], /--lora-train is/],
  ])('refuses %j', async (words, message) => {
    const run = await runCaptured(tune(join(folder, 'llama-softmax'), join(folder, 'refused'), ...words));
    expect(run.exitCode).not.toBe(0);
    expect(run.stderr).toMatch(message);
  });
});
