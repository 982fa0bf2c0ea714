/** Low-rank fine-tuning from the command line: what it changes and leaves alone, its two forms of result, and resuming. */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadCausalModel } from '../src/checkpoint/load-model.ts';
import { openSafetensors } from '../src/checkpoint/safetensors.ts';
import { lastJson, runCaptured } from './captured-cli.ts';
import { suiteFolder } from './scratch-folder.ts';
import { saveTinyModel } from './tiny-model.ts';

const folder = suiteFolder();
const data = join(folder, 'text.jsonl');
beforeAll(async () => {
  const line = `${JSON.stringify({ text: 'the linnet sings on the wire while the wind goes round the house' })}\n`;
  await writeFile(data, line.repeat(12));
});

async function ok(...words: string[]): Promise<Record<string, unknown>> {
  const run = await runCaptured([...words, '--json']);
  expect(run.stderr, words.join(' ')).not.toMatch(/^linnet: /m);
  expect(run.exitCode).toBe(0);
  return lastJson(run);
}

const tune = (model: string, out: string, ...more: string[]): string[] => [
  ...[
    'finetune',
    model,
    '--data',
    data,
    '--steps',
    '6',
    '--lr',
    '2e-2',
    '--batch',
    '4',
    '--length',
    '21',
    '--seed',
    '3',
  ],
  ...['--out', out, ...more],
];

/** Names of parameters that differ between two folders. */
async function changed(before: string, after: string): Promise<string[]> {
  const [a, b] = [await loadCausalModel(before), await loadCausalModel(after)];
  expect([...b.parameters.keys()]).toEqual([...a.parameters.keys()]);
  return [...a.parameters]
    .filter(([name, { data }]) => String(data) !== String(b.parameters.get(name)?.data))
    .map(([name]) => name);
}

describe.each([
  ['llama', 'q,v', ['q_proj.weight', 'v_proj.weight'], /norm/],
  ['gpt2', 'c_attn,mlp.c_proj', ['attn.c_attn.weight', 'mlp.c_proj.weight'], /ln_/],
])('%s', (family, targets, matrices, norms) => {
  let base = '';
  beforeAll(async () => {
    const softmax = join(folder, `${family}-softmax`);
    base = join(folder, `${family}-augmented`);
    await saveTinyModel(softmax, 1, family);
    await ok('linearize', softmax, '--mixer', 'augmented', '--group', '8', '--kernel', '5', '--out', base);
  });

  it('trains updates of the targets and the groups that are named, and nothing else', async () => {
    const out = join(folder, `${family}-merged`);
    const told = await ok(...tune(base, out, '--lora', `r=2,targets=${targets}`, '--lora-train', 'norms,mixers'));
    expect(told.steps).toBe(6);
    const names = await changed(base, out);
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
    await ok(...tune(base, merged, ...lora));
    await ok(...tune(base, adapter, ...lora, '--lora-save', 'adapter'));
    expect((await readdir(adapter)).sort()).toEqual([
      'adapter_config.json',
      'adapter_model.safetensors',
      'linnet_parameters.safetensors',
    ]);
    await ok('merge', base, adapter, '--out', again);
    const weights = await Promise.all([merged, again].map((at) => readFile(join(at, 'model.safetensors'))));
    expect(weights[0].equals(weights[1])).toBe(true);
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
    await ok(...tune(base, unbroken, ...lora, '--snapshot-every', '2'));
    await ok(...tune(base, stopped, ...lora, '--snapshot-every', '2'));
    await rm(stopped, { recursive: true });
    await rm(join(`${stopped}.run`, 'snapshots', 'update-000000006.safetensors'));
    const other = await runCaptured(
      tune(base, stopped, '--lora', 'r=2,targets=q,v', '--snapshot-every', '2', '--resume'),
    );
    expect(other.stderr).toMatch(/another model|readable/);
    await ok(...tune(base, stopped, ...lora, '--snapshot-every', '2', '--resume'));
    const weights = await Promise.all([unbroken, stopped].map((at) => readFile(join(at, 'model.safetensors'))));
    expect(weights[0].equals(weights[1])).toBe(true);
  });

  it.each([
    [['--lora', 'r=0'], /--lora is/],
    [['--lora', 'q,v'], /--lora is/],
    [['--lora', 'targets=nothing'], /no matrix of the model is named "nothing"; there are q_proj/],
    [['--lora-train', 'norms'], /--lora too/],
    [['--lora-save', 'adapter'], /needs --lora/],
    [['--lora', 'r=2', '--lora-train', 'all'], /--lora-train is/],
  ])('refuses %j', async (words, message) => {
    const run = await runCaptured(tune(join(folder, 'llama-softmax'), join(folder, 'refused'), ...words));
    expect(run.exitCode).not.toBe(0);
    expect(run.stderr).toMatch(message);
  });
});
