import { cp, link, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { golden, thirdParty } from '../fixtures.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { previousFolder, WRITTEN_FILES } from '../../src/files/written-folder.ts';
import { type Checkpoint, assertTensors, openCheckpoint } from '../../src/checkpoint/huggingface.ts';
import { type ModelTensor, type SaveCheckpointOptions, saveCheckpoint } from '../../src/checkpoint/save-checkpoint.ts';
import { openSafetensors } from '../../src/checkpoint/safetensors/reader.ts';
import { parseShardIndex } from '../../src/checkpoint/shard-index.ts';

async function opened(dir: string): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(dir);
  onTestFinished(() => checkpoint.close());
  return checkpoint;
}

const config = { model_type: 'llama', hidden_size: 4 };
/** Six tensors of 64 bytes each in F32. */
const tensors: ModelTensor[] = Array.from({ length: 6 }, (_, i) => ({
  name: `layer.${i}.weight`,
  shape: [4, 4],
  data: Float32Array.from({ length: 16 }, (_value, j) => (i + 1) / (j + 1)),
}));
const saved = async (options: Partial<SaveCheckpointOptions> = {}): Promise<string> => {
  const dir = join(await scratchFolder(), 'model');
  await saveCheckpoint(dir, { config, tensors, ...options });
  return dir;
};

describe('saveCheckpoint and openCheckpoint', () => {
  it('give back a model in one file', async () => {
    const dir = await saved();
    expect((await readdir(dir)).sort()).toEqual([WRITTEN_FILES, 'config.json', 'model.safetensors']);
    const checkpoint = await opened(dir);
    expect(checkpoint.config).toEqual({ ...config, torch_dtype: 'float32' });
    expect([...checkpoint.tensors.keys()]).toEqual(tensors.map(({ name }) => name));
    expect(checkpoint.tensors.get('layer.0.weight')).toEqual({ dtype: 'F32', shape: [4, 4], byteLength: 64 });
    expect((await checkpoint.readFloat32('layer.2.weight')).data).toEqual(tensors[2].data);
    await expect(checkpoint.read('layer.6.weight')).rejects.toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
    const file = await openSafetensors(join(dir, 'model.safetensors'));
    expect([...file.metadata]).toEqual([['format', 'pt']]);
    await file.close();
  });

  it('give back a model in several files, named as transformers names them', async () => {
    const dir = await saved({ shardBytes: 130 });
    const files = [1, 2, 3].map((i) => `model-0000${i}-of-00003.safetensors`);
    expect((await readdir(dir)).sort()).toEqual([
      WRITTEN_FILES,
      'config.json',
      ...files,
      'model.safetensors.index.json',
    ]);
    const index: unknown = JSON.parse(await readFile(join(dir, 'model.safetensors.index.json'), 'utf8'));
    expect(index).toEqual({
      metadata: { total_size: 384 },
      weight_map: Object.fromEntries(tensors.map(({ name }, i) => [name, files[Math.floor(i / 2)]])),
    });
    const checkpoint = await opened(dir);
    for (const { name, data } of tensors) expect((await checkpoint.readFloat32(name)).data).toEqual(data);
  });

  it('gives a tensor larger than a shard a file of its own', async () => {
    const dir = await saved({ shardBytes: 1 });
    expect((await readdir(dir)).filter((name) => /^model-\d{5}-of-00006\.safetensors$/.test(name))).toHaveLength(6);
    expect((await opened(dir)).tensors.size).toBe(6);
  });

  it.each([
    ['F16', 'float16', 1 / 3, 0.333251953125],
    ['BF16', 'bfloat16', 1 / 3, 0.333984375],
  ] as const)('stores %s and says so in the config', async (dtype, torchName, value, rounded) => {
    const one: ModelTensor[] = [{ name: 'w', shape: [1], data: async () => Float32Array.of(value) }];
    const dir = await saved({ dtype, tensors: one, config: { torch_dtype: 'float32' } });
    const checkpoint = await opened(dir);
    expect(checkpoint.config).toEqual({ torch_dtype: torchName });
    expect(checkpoint.tensors.get('w')).toEqual({ dtype, shape: [1], byteLength: 2 });
    expect((await checkpoint.readFloat32('w')).data).toEqual(Float32Array.of(rounded));
    const renamed = await opened(await saved({ dtype, tensors: one, config: { dtype: 'float32' } }));
    expect(renamed.config).toEqual({ dtype: torchName });
  });

  it('copies tokenizer files from a folder, or writes given contents, and protects the model files', async () => {
    const source = await saved({ tokenizerFiles: new Map([['tokenizer.json', '{"a":1}']]) });
    await writeFile(join(source, 'notes.txt'), 'not part of a model');
    const copy = await saved({ tokenizerFiles: { from: source } });
    expect(await readFile(join(copy, 'tokenizer.json'), 'utf8')).toBe('{"a":1}');
    expect(await readdir(copy)).not.toContain('notes.txt');
    await expect(saved({ tokenizerFiles: new Map([['config.json', '']]) })).rejects.toThrow(/belongs to the model/);
    await expect(saved({ tokenizerFiles: new Map([['../x', '']]) })).rejects.toThrow(/plain file name/);
  });

  it('refuses an existing folder, replaces it on request, even by itself', async () => {
    const dir = await saved();
    await expect(saveCheckpoint(dir, { config, tensors })).rejects.toThrow(/already exists/);
    const before = await opened(dir);
    const names = [...before.tensors.keys()];
    const halved = names.map((name): ModelTensor => {
      const data = async (): Promise<Float32Array> => (await before.readFloat32(name)).data.map((value) => value / 2);
      return { name, shape: [4, 4], data };
    });
    await saveCheckpoint(dir, { config, tensors: halved, replace: true });
    const after = await opened(dir);
    expect((await after.readFloat32('layer.1.weight')).data[0]).toBe(1);
  });

  it('leaves nothing behind when a tensor fails', async () => {
    const parent = await scratchFolder();
    const failing: ModelTensor[] = [...tensors, { name: 'bad', shape: [3], data: new Float32Array(2) }];
    await expect(saveCheckpoint(join(parent, 'model'), { config, tensors: failing })).rejects.toThrow(
      /"bad".*3 elements/,
    );
    const twice = saveCheckpoint(join(parent, 'model'), { config, tensors: [...tensors, tensors[0]], shardBytes: 64 });
    await expect(twice).rejects.toThrow(/two tensors are named "layer.0.weight"/);
    expect(await readdir(parent)).toEqual([]);
  });

  it('stop between pieces, and leave nothing', async () => {
    const parent = await scratchFolder();
    const stop = new AbortController();
    const data = () => {
      stop.abort();
      return new Float32Array(16);
    };
    const stopping = [{ ...tensors[0], data }, ...tensors.slice(1)];
    const saving = saveCheckpoint(join(parent, 'model'), { config, tensors: stopping, signal: stop.signal });
    await expect(saving).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await readdir(parent)).toEqual([]);
  });

  it('reads a model of the golden cases', async () => {
    const dir = await scratchFolder();
    await cp(join(golden('hf_llama_gqa_tied'), 'config.json'), join(dir, 'config.json'));
    await cp(join(golden('hf_llama_gqa_tied'), 'weights.safetensors'), join(dir, 'model.safetensors'));
    const checkpoint = await opened(dir);
    expect(checkpoint.tensors.has('model.embed_tokens.weight')).toBe(true);
  });

  const stories = thirdParty('stories260k');
  it.skipIf(stories === undefined)('reads stories260k (skipped: third-party fixtures are absent)', async () => {
    const checkpoint = await opened(stories ?? '');
    expect(checkpoint.config.model_type).toBe('llama');
    expect((await checkpoint.readFloat32('model.norm.weight')).shape).toEqual([64]);
  });
});

describe('fingerprint', () => {
  it('does not depend on how the model is split, but on every tensor and the config', async () => {
    const of = async (options: Partial<SaveCheckpointOptions> = {}): Promise<string> =>
      (await opened(await saved(options))).fingerprint();
    const base = await of();
    expect(base).toMatch(/^[0-9a-f]{64}$/);
    expect(await of({ shardBytes: 130 })).toBe(base);
    expect(await of({ tensors: [...tensors].reverse() })).toBe(base);
    const [first, ...rest] = tensors;
    const others = await Promise.all([
      of({ config: { ...config, hidden_size: 5 } }),
      of({ dtype: 'BF16' }),
      of({ tensors: rest }),
      of({ tensors: [{ ...first, shape: [2, 8] }, ...rest] }),
      of({ tensors: [{ ...first, name: 'layer.00.weight' }, ...rest] }),
      of({ tensors: [{ ...first, data: new Float32Array(16) }, ...rest] }),
    ]);
    expect(new Set([base, ...others]).size).toBe(others.length + 1);
  });

  it('is remembered, also after the files are closed', async () => {
    const checkpoint = await openCheckpoint(await saved());
    const first = await checkpoint.fingerprint();
    await checkpoint.close();
    await checkpoint.close();
    expect(await checkpoint.fingerprint()).toBe(first);
    await expect(checkpoint.read('layer.0.weight')).rejects.toThrow(/closed/);
  });
});

describe('openCheckpoint refuses', () => {
  /** A sharded model whose index was edited. */
  const withIndex = async (edit: (weightMap: Record<string, unknown>) => unknown): Promise<string> => {
    const dir = await saved({ shardBytes: 200 });
    const path = join(dir, 'model.safetensors.index.json');
    const index = parseShardIndex(await readFile(path), path);
    await writeFile(path, JSON.stringify({ weight_map: edit(Object.fromEntries(index)) }));
    return dir;
  };

  it.each([
    '../model/model-00001-of-00002.safetensors',
    '/etc/hostname.safetensors',
    'sub\\x.safetensors',
    'C:x.safetensors',
    '..',
    '',
    'a\u0000.safetensors',
  ])('the shard name %j', async (shard) => {
    const dir = await withIndex((map) => ({ ...map, 'layer.0.weight': shard }));
    await expect(openCheckpoint(dir)).rejects.toThrow(expect.objectContaining({ code: 'PATH' }));
  });

  it.each<[string, (map: Record<string, unknown>) => unknown, string, RegExp]>([
    ['a weight map that is not an object', () => ['x'], 'FORMAT', /weight_map must be/],
    [
      'a shard that is not a string',
      (map) => ({ ...map, 'layer.0.weight': 3 }),
      'FORMAT',
      /"layer.0.weight" must be a string/,
    ],
    [
      'a shard of another format',
      (map) => ({ ...map, 'layer.0.weight': 'pytorch_model.bin' }),
      'FORMAT',
      /does not end in/,
    ],
    ['an empty map', () => ({}), 'FORMAT', /0 files/],
    [
      'a shard that is missing',
      (map) => ({ ...map, 'layer.0.weight': 'none.safetensors' }),
      'NOT_FOUND',
      /none\.safetensors/,
    ],
    [
      'tensors not in their shard',
      (map) => ({ ...map, ghost: map['layer.0.weight'] }),
      'TENSOR',
      /1 of the index are missing in .*"ghost"/,
    ],
    [
      'tensors nobody asked for',
      (map) => Object.fromEntries(Object.entries(map).filter(([name]) => name !== 'layer.5.weight')),
      'TENSOR',
      /1 in model-00002-of-00002.safetensors are not assigned to it: "layer.5.weight"/,
    ],
    [
      'a tensor in another shard than named',
      (map) => ({ ...map, 'layer.0.weight': map['layer.5.weight'] }),
      'TENSOR',
      /missing in model-00002.*"layer.0.weight".*in model-00001.*not assigned to it: "layer.0.weight"/,
    ],
  ])('%s', async (_, edit, code, message) => {
    const opening = openCheckpoint(await withIndex(edit));
    await expect(opening).rejects.toThrow(message);
    await expect(opening).rejects.toThrow(expect.objectContaining({ code }));
  });

  it('an index with a duplicate tensor', async () => {
    const dir = await saved({ shardBytes: 200 });
    const shard = 'model-00001-of-00002.safetensors';
    await writeFile(join(dir, 'model.safetensors.index.json'), `{"weight_map":{"a":"${shard}","a":"${shard}"}}`);
    await expect(openCheckpoint(dir)).rejects.toThrow(/"a" twice/);
  });

  it('nothing about links: into the folder, out of it, into the cache of the hub, and hard links', async () => {
    const dir = await saved();
    const outside = join(dir, '../outside.safetensors');
    const weights = join(dir, 'model.safetensors');
    await rename(weights, outside);
    await symlink(outside, weights);
    expect((await opened(dir)).tensors.size).toBe(6);
    await rm(weights);
    await link(outside, weights);
    expect((await opened(dir)).tensors.size).toBe(6);
    await rm(weights);
    await rename(outside, join(dir, 'inside.safetensors'));
    await symlink('inside.safetensors', weights);
    expect((await opened(dir)).tensors.size).toBe(6);

    const repository = join(dir, '../models--x');
    await mkdir(join(repository, 'snapshots/abc'), { recursive: true });
    await mkdir(join(repository, 'blobs'));
    await cp(join(dir, 'config.json'), join(repository, 'blobs/1'));
    await rename(join(dir, 'inside.safetensors'), join(repository, 'blobs/2'));
    await symlink('../../blobs/1', join(repository, 'snapshots/abc/config.json'));
    await symlink('../../blobs/2', join(repository, 'snapshots/abc/model.safetensors'));
    expect((await opened(join(repository, 'snapshots/abc'))).tensors.size).toBe(6);
  });

  it('folders without config, weights or existence, and says what it found', async () => {
    const dir = await saved();
    await rename(join(dir, 'model.safetensors'), join(dir, 'pytorch_model.bin'));
    await expect(openCheckpoint(dir)).rejects.toThrow(/"pytorch_model.bin" may run code.*safetensors instead/);
    await rm(join(dir, 'config.json'));
    await expect(openCheckpoint(dir)).rejects.toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
    await expect(openCheckpoint(join(dir, 'pytorch_model.bin'))).rejects.toThrow(/not a folder/);
    await rename(dir, previousFolder(dir));
    await expect(openCheckpoint(dir)).rejects.toThrow(/replacement was interrupted/);
  });

  it.each([
    ['no JSON', '{', /config\.json is not valid JSON/],
    ['no object', '[1]', /is not a JSON object/],
    ['far too large', ' '.repeat(16_000_001), /at most 16000000/],
  ])('a config that is %s', async (_, text, message) => {
    const dir = await saved();
    await writeFile(join(dir, 'config.json'), text);
    await expect(openCheckpoint(dir)).rejects.toThrow(message);
  });

  it.runIf(process.platform === 'linux')('without leaking open files', async () => {
    const dir = await withIndex((map) => ({ ...map, ghost: map['layer.0.weight'] }));
    const openFiles = async (): Promise<number> => (await readdir('/proc/self/fd')).length;
    const before = await openFiles();
    for (let i = 0; i < 20; i++) await expect(openCheckpoint(dir)).rejects.toThrow();
    expect(await openFiles()).toBeLessThan(before + 10);
    expect((await stat(dir)).isDirectory()).toBe(true);
  });
});

describe('assertTensors', () => {
  const expected = new Map(tensors.map(({ name, shape }) => [name, { shape }]));

  it('accepts exactly the expected tensors', async () => {
    const checkpoint = await opened(await saved());
    assertTensors(checkpoint, expected);
    const fewer = new Map([...expected].slice(1));
    expect(() => assertTensors(checkpoint, fewer)).toThrow(/1 surplus: "layer.0.weight"/);
  });

  it('names missing, surplus and wrong-shape tensors, the first few of many', async () => {
    const checkpoint = await opened(await saved());
    const wanted = new Map([['layer.5.weight', { shape: [16] }]]);
    for (let i = 0; i < 7; i++) wanted.set(`new.${i}`, { shape: [1] });
    const act = (): void => assertTensors(checkpoint, wanted);
    expect(act).toThrow(/7 missing: "new.0", "new.1", "new.2", "new.3", "new.4" and 2 more/);
    expect(act).toThrow(/5 surplus: "layer.0.weight"/);
    expect(act).toThrow(/1 of the wrong shape: "layer.5.weight" is \[4,4\], expected \[16\]/);
    expect(act).toThrow(expect.objectContaining({ code: 'TENSOR' }));
  });
});
