/** What is not a model: `linnet inspect` names it, and commands that need a model say the same in their error. */
import { cp, link, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { exportFolder } from '../../src/export/export-model.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { errorOf, linnet, runJson } from './captured-cli.ts';

const place = suiteFolder();
const base = join(place, 'base');
beforeAll(() => saveTinyModel(base));

/** A copy of the model, changed. */
async function changed(name: string, change: (folder: string) => Promise<unknown>): Promise<string> {
  const folder = join(place, name);
  await cp(base, folder, { recursive: true });
  await change(folder);
  return folder;
}

const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 123456789\n`;

async function withConfig(folder: string, fields: object): Promise<void> {
  const file = join(folder, 'config.json');
  const config: unknown = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify(Object.assign({}, config, fields)));
}

async function withoutWeights(folder: string): Promise<void> {
  await rm(join(folder, 'model.safetensors'));
}

/** What is made → kind, and a piece of the advice. */
const kinds: readonly (readonly [kind: string, make: () => Promise<string>, is: RegExp, advice: RegExp])[] = [
  [
    'adapter',
    async () => {
      const folder = join(place, 'adapter');
      await mkdir(folder);
      const config = { peft_type: 'LORA', base_model_name_or_path: 'meta/llama', r: 8, lora_alpha: 16 };
      await writeFile(join(folder, 'adapter_config.json'), JSON.stringify(config));
      await cp(join(base, 'model.safetensors'), join(folder, 'adapter_model.safetensors'));
      return folder;
    },
    /an adapter/,
    /linnet merge "meta\/llama"/,
  ],
  [
    'session',
    async () => {
      const file = join(place, 'talk.session');
      await linnet('generate', base, '--prompt', 'a', '--max-tokens', '3', '--ignore-eos', '--session', file);
      return file;
    },
    /a session/,
    /linnet generate MODEL --session/,
  ],
  [
    'heads',
    async () => {
      const folder = join(place, 'heads');
      await mkdir(folder);
      await writeFile(join(folder, 'medusa.json'), '{}');
      await cp(join(base, 'model.safetensors'), join(folder, 'medusa.safetensors'));
      return folder;
    },
    /Medusa heads without the model/,
    /linnet medusa train/,
  ],
  [
    'lfs-pointer',
    () => changed('pointers', (folder) => writeFile(join(folder, 'model.safetensors'), pointer)),
    /"model.safetensors" are pointers of Git LFS/,
    /git lfs pull/,
  ],
  [
    'lfs-pointer',
    async () => {
      const file = join(place, 'pointer.gguf');
      await writeFile(file, pointer);
      return file;
    },
    /"pointer.gguf" are pointers of Git LFS/,
    /git lfs pull/,
  ],
  [
    'pickle',
    () => changed('pickles', (folder) => rename(join(folder, 'model.safetensors'), join(folder, 'pytorch_model.bin'))),
    /pickle format/,
    /save_pretrained/,
  ],
  [
    'quantized',
    () => changed('hqq', (folder) => withConfig(folder, { quantization_config: { quant_method: 'hqq', bits: 4 } })),
    /quantized by hqq/,
    /F32, F16 or BF16/,
  ],
  [
    'quantized',
    () => changed('bnb', (folder) => withConfig(folder, { quantization_config: { quant_method: 'bitsandbytes' } })),
    /quantized by bitsandbytes/,
    /linnet export/,
  ],
  [
    'quantized',
    () =>
      changed('aqlm', (folder) => writeFile(join(folder, 'quantize_config.json'), '{"quant_method":"aqlm","bits":4}')),
    /quantized by aqlm/,
    /linnet export/,
  ],
  [
    'tokenizer',
    () =>
      changed('tokenizer', async (folder) => {
        await withoutWeights(folder);
        await rm(join(folder, 'config.json'));
      }),
    /a tokenizer without a model/,
    /linnet pretrain CONFIG --tokenizer/,
  ],
  ['tokenizer', () => changed('bare', withoutWeights), /neither model.safetensors nor/, /linnet pretrain/],
  [
    'run',
    async () => {
      const folder = join(place, 'some.run');
      await mkdir(folder);
      const record = { format: 'linnet-run', version: 1, command: ['linnet', 'finetune', 'x'], status: 'interrupted' };
      await writeFile(join(folder, 'run.json'), JSON.stringify(record));
      return folder;
    },
    /the record of a run/,
    /--resume/,
  ],
  [
    'models',
    async () => {
      const folder = join(place, 'several');
      await cp(base, join(folder, 'one'), { recursive: true });
      return folder;
    },
    /a folder of models, not a model: "one"/,
    /such as .*several\/one/,
  ],
];

describe('what is not a model', () => {
  it.each(kinds)('%s is named, with what takes it', async (kind, make, is, advice) => {
    const path = await make();
    const described = await runJson('inspect', path);
    expect(described.kind).toBe(kind);
    expect(described.is).toMatch(is);
    expect(described.advice).toMatch(advice);
    const people = await linnet('inspect', path);
    expect(people.stdout).toMatch(is);
    expect(people.stdout).toMatch(advice);
    for (const words of [
      ['generate', path, '--prompt', 'a'],
      ['linearize', path, '--mixer', 'augmented', '--out', join(place, 'never')],
    ]) {
      const refused = await linnet(...words, '--json');
      expect(refused.exitCode).toBe(3);
      expect(errorOf(refused).message).toMatch(is);
      expect(errorOf(refused).message).toMatch(advice);
    }
  });
});

describe('an exported folder', () => {
  it('is named where weights are needed', async () => {
    const out = join(place, 'exported');
    await exportFolder(base, out, { dtype: 'f32' });
    const refused = await linnet('linearize', out, '--mixer', 'augmented', '--out', join(place, 'never'), '--json');
    expect(errorOf(refused).message).toMatch(/is an exported folder .* generate, chat, serve/);
    const data = join(out, 'model.onnx.data');
    await rename(data, join(place, 'outside'));
    await symlink(join(place, 'outside'), data);
    const links = await linnet('generate', out, '--prompt', 'a', '--json');
    expect(errorOf(links).message).toMatch(/leaves its folder .* an exported folder may come from anyone/);
    await rm(data);
    await link(join(place, 'outside'), data);
    const hard = await linnet('generate', out, '--prompt', 'a', '--json');
    expect(errorOf(hard).message).toMatch(/2 hard links; an exported folder/);
  });
});

describe('a classifier', () => {
  it('is called one, and refused by its name where tokens are predicted', async () => {
    const data = join(place, 'labels.csv');
    await writeFile(data, `text,label\n${'a good one,good\na bad one,bad\n'.repeat(4)}`);
    const folder = join(place, 'classifier');
    const steps = ['--steps', '1', '--batch', '2', '--length', '16'];
    const training = ['--objective', 'classify', '--data', data, '--out', folder, ...steps];
    expect((await linnet('finetune', base, ...training)).stderr).not.toMatch(/^linnet: /m);
    expect(await runJson('inspect', folder)).toMatchObject({
      kind: 'classifier',
      labels: ['bad', 'good'],
      stateBytes: null,
    });
    const people = await linnet('inspect', folder);
    expect(people.stdout).toMatch(/kind +classifier with 2 labels: "bad", "good"/);
    expect(people.stdout).toContain('linnet eval accuracy');
    for (const words of [
      ['generate', folder, '--prompt', 'a'],
      ['export', folder, '--dtype', 'f32', '--out', join(place, 'never')],
      ['eval', 'perplexity', folder, '--data', data],
    ]) {
      const { message } = errorOf(await linnet(...words, '--json'));
      expect(message).toMatch(/is a classifier of 2 labels .*linnet eval accuracy/);
    }
  });
});

describe('other mistakes', () => {
  it('a table without header, and a model without tokenizer, are answered with what to do', async () => {
    const data = join(place, 'headerless.csv');
    await writeFile(data, 'a good one,good\na bad one,bad\n');
    const words = ['finetune', base, '--objective', 'classify', '--data', data, '--out', join(place, 'never')];
    expect(errorOf(await linnet(...words, '--json')).message).toMatch(/give column numbers/);
    const silent = await changed('silent', (folder) => rm(join(folder, 'tokenizer.json')));
    const { message } = errorOf(await linnet('generate', silent, '--prompt', 'a', '--json'));
    expect(message).toMatch(/copy its model's tokenizer.json .* there/);
  });
});

it('an empty folder says which folders would do', async () => {
  const empty = join(place, 'empty');
  await mkdir(empty);
  for (const words of [['inspect'], ['generate', '--prompt', 'a']]) {
    const { code, message } = errorOf(await linnet(words[0], empty, ...words.slice(1), '--json'));
    expect(code).toBe('NOT_FOUND');
    expect(message).toMatch(
      /holds no model: neither config.json with model.safetensors, nor a .gguf file, nor linnet.json/,
    );
  }
});

describe('links', () => {
  it('of model files are followed, and copied where the name stays', async () => {
    const linked = join(place, 'linked');
    await mkdir(linked);
    await link(join(base, 'config.json'), join(linked, 'config.json'));
    for (const name of ['model.safetensors', 'tokenizer.json']) await symlink(join(base, name), join(linked, name));
    const words = ['--prompt', 'a', '--max-tokens', '4', '--ignore-eos'];
    expect((await runJson('generate', linked, ...words)).tokens).toEqual(
      (await runJson('generate', base, ...words)).tokens,
    );
    const out = join(place, 'linearized');
    await runJson('linearize', linked, '--mixer', 'augmented', '--out', out);
    expect(await readFile(join(out, 'tokenizer.json'))).toEqual(await readFile(join(base, 'tokenizer.json')));
    const secret = join(place, 'id_rsa');
    await writeFile(secret, 'private');
    await symlink(secret, join(linked, 'merges.txt'));
    const refused = await linnet('linearize', linked, '--mixer', 'augmented', '--out', join(place, 'never'), '--json');
    expect(errorOf(refused).message).toMatch(/to a file of another name .*files that are copied with a model/);
  });
});
