/**
 * Medusa heads in exported folders, on a tiny model that knows a song: they are stored in the type of the model, draft
 * for it, and leave its text as it is; what is damaged or does not belong together is refused.
 */
import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { loadMedusaHeads, type StoredMedusa } from '../../src/checkpoint/medusa-files.ts';
import { generateToEnd } from '../decoding/generated.ts';
import { Sampler } from '../../src/decoding/sampler.ts';
import { MedusaDrafter } from '../../src/decoding/speculation/drafters/medusa-drafter.ts';
import { SpeculationStatistics, speculative } from '../../src/decoding/speculation/speculative.ts';
import { exportFolder, exportModel, type ExportOptions } from '../../src/export/export-model.ts';
import { openExportedHeads, readExportedFolder } from '../../src/open/folder-files.ts';
import { storageTypeNames } from '../../src/export/manifest.ts';
import { WRITTEN_FILES } from '../../src/files/written-folder.ts';
import { MedusaHeads } from '../../src/models/medusa/medusa-heads.ts';
import { readerOf } from '../../src/quantization/weight-reader.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { errorOf, linnet, runJson } from '../cli/captured-cli.ts';
import { scratchFolder, suiteFolder } from '../scratch-folder.ts';
import { song, writeJsonlTexts } from '../cli/text-data.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { storeMedusaTree } from '../models/medusa-tree.ts';
import { openReady } from '../open/ready-model.ts';

const place = suiteFolder();
const data = join(place, 'songs.jsonl');
/** The model, and the same with heads. */
const plain = join(place, 'plain');
const withHeads = join(place, 'heads');

const tree = { paths: [[0], [1], [0, 0], [0, 1], [0, 0, 0]], method: 'given' as const, expectedLength: 2.5 };
const prompts = ['the lin', 'the wind goes round the house. the linnet s', 'while it rains, the', 't'];

beforeAll(async () => {
  await writeJsonlTexts(data, new Array<string>(12).fill(`${song}. `.repeat(6)));
  const [softmax, linear] = [join(place, 'softmax'), join(place, 'linear')];
  await saveTinyModel(softmax);
  await runJson('linearize', softmax, '--mixer', 'augmented', '--group', '8', '--out', linear);
  const sizes = ['--data', data, '--lr', '2e-2', '--batch', '4', '--length', '48'];
  await runJson('finetune', linear, ...sizes, '--steps', '150', '--out', plain);
  await runJson('medusa', 'train', plain, ...sizes, '--steps', '60', '--heads', '3', '--out', withHeads);
  await storeMedusaTree(withHeads, tree);
}, 120_000);

/** An export, made once for all tests that only read it. */
async function exported(dtype: ExportOptions['dtype'], name: string = dtype): Promise<string> {
  const folder = join(place, name);
  await exportFolder(withHeads, folder, { dtype, replace: true });
  return folder;
}

async function storedHeads(): Promise<StoredMedusa> {
  return loadMedusaHeads(withHeads, await loadCausalModel(withHeads));
}

describe.each(storageTypeNames)('heads exported as %s', (dtype) => {
  let folder = '';
  beforeAll(async () => {
    folder = await exported(dtype);
  });

  it('are listed, with their tree, and open for any user of ONNX Runtime', async () => {
    const { manifest } = await readExportedFolder(folder, { verify: true });
    expect(manifest.medusa).toMatchObject({ heads: 3, layers: 1, tree });
    expect(Object.keys(manifest.files)).toEqual(expect.arrayContaining(['medusa.onnx', 'medusa.onnx.data']));
    expect(Object.keys(manifest.files).sort()).toEqual(
      (await readdir(folder)).filter((name) => name !== 'linnet.json' && name !== WRITTEN_FILES).sort(),
    );
    expect(manifest.files).not.toHaveProperty('medusa.json');
    const matrices = Object.keys(manifest.report.weights).filter((name) => name.startsWith('medusa_head.'));
    const ordered = [0, 1, 2].flatMap((head) => [
      `medusa_head.${head}.0.linear.weight`,
      `medusa_head.${head}.1.weight`,
    ]);
    expect(matrices).toEqual(dtype === 'f32' ? [] : ordered);
    const session = await InferenceSession.create(join(folder, 'medusa.onnx'));
    expect([session.inputNames, session.outputNames]).toEqual([['hidden'], ['logits']]);
    await session.release();
  });

  it('draft for the model, which writes what it writes without them, greedily and sampled', async () => {
    await using opened = await openReady(folder);
    await using medusa = await opened.opened.heads();
    expect(medusa.tree).toEqual(tree);
    const tokenizer = await loadTokenizer(folder);
    const statistics = new SpeculationStatistics();
    for (const [index, prompt] of prompts.entries()) {
      for (const temperature of [0, 0.8]) {
        const options = {
          promptTokens: tokenizer.encode(prompt, { bos: true }),
          maxTokens: 61 + index,
          ignoreEos: true,
        };
        const sampler = (): Sampler => new Sampler({ temperature, seed: 5 });
        const expected = await generateToEnd(opened.engine, { ...options, sampler: sampler() });
        const method = speculative(new MedusaDrafter(medusa.heads, medusa.tree?.paths), { statistics });
        const found = await generateToEnd(opened.engine, { ...options, sampler: sampler(), method });
        expect(found.tokens, `${prompt} at ${temperature}`).toEqual(expected.tokens);
      }
    }
    expect(statistics.summary.tokensPerStep).toBeGreaterThan(1.3);
    expect(statistics.summary.acceptedByDepth).toHaveLength(3);
  });

  it('give nearly the logits of the heads they were made from', async () => {
    const { model } = await loadCausalModel(withHeads);
    const { config, parameters } = await storedHeads();
    await using reference = await MedusaHeads.create(config, model.sizes, parameters);
    await using heads = await openExportedHeads(await readExportedFolder(folder));
    const hidden = Float32Array.from({ length: 3 * model.sizes.width }, (_, i) => Math.sin(i));
    const [expected, found] = [await reference.logits(hidden), await heads.logits(hidden)];
    expect(found.shape).toEqual(expected.shape);
    const peak = Math.max(...expected.data.map(Math.abs));
    const difference = Math.max(...found.data.map((value, i) => Math.abs(value - expected.data[i])));
    const allowed = { f32: 0, f16: 0.002, w8a8: 0.03, int4: 0.3, mixed: 0.3 };
    expect(difference / peak).toBeLessThanOrEqual(allowed[dtype]);
    if (dtype !== 'f32') expect(difference).toBeGreaterThan(0);
  });
});

describe('exporting heads', () => {
  it('changes nothing where there are none', async () => {
    const without = join(place, 'without');
    await exportFolder(plain, without, { dtype: 'int4' });
    const before = await readExportedFolder(without);
    expect(before.manifest).not.toHaveProperty('medusa');
    expect((await readdir(without)).filter((name) => name.includes('medusa'))).toEqual([]);
    // Heads are no part of what ties sessions to a model.
    const other = join(place, 'other');
    const { model, parameters } = await loadCausalModel(withHeads);
    await exportModel(other, { model, weights: readerOf(parameters), dtype: 'f32' });
    expect((await readExportedFolder(other)).fingerprint).toBe(
      (await readExportedFolder(await exported('f32', 'again'))).fingerprint,
    );
    await expect(openExportedHeads(before)).rejects.toThrow(/was exported without Medusa heads/);
    const words = ['generate', without, '--prompt', 'the', '--max-tokens', '8', '--ignore-eos'];
    expect(errorOf(await linnet(...words, '--json', '--speculate', 'medusa')).code).toBe('NOT_FOUND');
    expect(await runJson(...words, '--speculate', 'auto')).toMatchObject({ speculation: { drafter: 'auto' } });
  });

  it('reads one parameter after the other, each while the one before it is written', async () => {
    const { model, parameters } = await loadCausalModel(withHeads);
    const { config, parameters: heads } = await storedHeads();
    let progress = 0;
    const total = { bytes: 0 };
    const writtenAt: number[] = [];
    const reader = readerOf(heads);
    await exportModel(join(place, 'streamed'), {
      model,
      weights: readerOf(parameters),
      dtype: 'f32',
      medusa: {
        config,
        read(name) {
          // Biases are small enough to stand in the graph itself.
          if (name.endsWith('.weight')) writtenAt.push(progress);
          return reader.read(name);
        },
      },
      onProgress(written, all) {
        expect(written).toBeGreaterThan(progress);
        progress = written;
        total.bytes = all;
      },
    });
    const { manifest } = await readExportedFolder(join(place, 'streamed'));
    expect(manifest.medusa).not.toHaveProperty('tree');
    expect(writtenAt).toHaveLength(6);
    expect(writtenAt[0]).toBeGreaterThanOrEqual(manifest.files['model.onnx.data'].bytes);
    for (let i = 2; i < writtenAt.length; i++) expect(writtenAt[i]).toBeGreaterThan(writtenAt[i - 2]);
    expect(progress).toBe(total.bytes);
    expect(progress).toBe(manifest.files['model.onnx.data'].bytes + manifest.files['medusa.onnx.data'].bytes);
  });

  it('leaves nothing behind where heads are of another model, lack room or are stopped half-way', async () => {
    const parent = join(place, 'parent');
    await mkdir(parent);
    const out = join(parent, 'out');
    const mixed = join(place, 'foreign-heads');
    await cp(plain, mixed, { recursive: true });
    for (const name of ['medusa.json', 'medusa.safetensors']) await cp(join(withHeads, name), join(mixed, name));
    const config = z.looseObject({}).parse(JSON.parse(await readFile(join(mixed, 'config.json'), 'utf8')));
    await writeFile(join(mixed, 'config.json'), JSON.stringify({ ...config, rms_norm_eps: 1e-4 }));
    await expect(exportFolder(mixed, out, { dtype: 'f32' })).rejects.toMatchObject({ code: 'MISMATCH' });

    // Room for the model alone: the heads are counted too.
    const { files } = (await readExportedFolder(await exported('f32', 'sizes'))).manifest;
    const needed = (...names: string[]): number => 1.125 * names.reduce((sum, name) => sum + files[name].bytes, 0);
    const model = needed('model.onnx', 'model.onnx.data');
    const free = model + files['medusa.onnx'].bytes;
    const small = { dtype: 'f32' as const, freeBytes: () => Promise.resolve(free) };
    await expect(exportFolder(withHeads, out, small)).rejects.toThrow(/the export needs/);
    expect(await readdir(parent)).toEqual([]);
    await exportFolder(plain, out, small);
    await rm(out, { recursive: true });

    const abort = new AbortController();
    const stopped = exportFolder(withHeads, out, {
      dtype: 'f32',
      signal: abort.signal,
      onProgress(written) {
        if (written >= files['model.onnx.data'].bytes) abort.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await readdir(parent)).toEqual([]);
  });
});

describe('opening refuses', () => {
  const manifestSchema = z.looseObject({
    files: z.record(z.string(), z.object({ bytes: z.number(), sha256: z.string() })),
    medusa: z.looseObject({ heads: z.number(), layers: z.number(), tree: z.unknown() }),
  });
  type Manifest = z.infer<typeof manifestSchema>;
  let folder = '';
  beforeAll(async () => {
    folder = await exported('int4', 'whole');
  });

  /** A copy of the folder with other files; linnet.json is made to agree with them before `change`. */
  async function altered(
    files: Readonly<Record<string, Uint8Array>>,
    change: (manifest: Manifest) => void = () => undefined,
  ): Promise<string> {
    const copy = await scratchFolder();
    await cp(folder, copy, { recursive: true });
    const file = join(copy, 'linnet.json');
    const manifest = manifestSchema.parse(JSON.parse(await readFile(file, 'utf8')));
    for (const [name, bytes] of Object.entries(files)) {
      await writeFile(join(copy, name), bytes);
      manifest.files[name] = { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
    }
    change(manifest);
    await writeFile(file, JSON.stringify(manifest));
    return copy;
  }

  const opening = async (dir: string): Promise<void> => {
    await using model = await openReady(dir);
    await using heads = await model.opened.heads();
    expect(heads).toBeDefined();
  };

  it.each<[string, (file: string) => Promise<void>, RegExp]>([
    [
      'a flipped bit',
      async (file) => {
        const bytes = await readFile(file);
        bytes[200] ^= 1;
        await writeFile(file, bytes);
      },
      /medusa\.onnx\.data does not match its checksum in linnet\.json/,
    ],
    ['a lost end', (file) => truncate(file, 1000), /medusa\.onnx\.data has 1000 bytes, but linnet\.json says \d+/],
    ['weights that are gone', (file) => rm(file), /cannot open .*medusa\.onnx\.data/],
  ])('%s in the weights of heads', async (_, damage, message) => {
    const dir = await altered({});
    await damage(join(dir, 'medusa.onnx.data'));
    await expect(opening(dir)).rejects.toThrow(message);
    const generated = await linnet('generate', dir, '--prompt', 'the', '--speculate', 'medusa');
    expect(generated.exitCode).toBe(3);
    expect(generated.stderr).toMatch(message);
  });

  it.each<[string, (manifest: Manifest) => void, RegExp]>([
    [
      'another number of heads',
      (m) => (m.medusa.heads = 4),
      /output "logits" is float32\[3,N,258\].*float32\[4,N,258\]/,
    ],
    ['too many heads', (m) => (m.medusa.heads = 17), /medusa\.heads/],
    ['heads that are not listed', (m) => delete m.files['medusa.onnx'], /does not list the file medusa\.onnx/],
    [
      'weights that are not listed',
      (m) => delete m.files['medusa.onnx.data'],
      /a weight outside of medusa\.onnx\.data/,
    ],
    ['an unknown field', (m) => (m.medusa.extra = 1), /extra/],
    [
      'a tree too deep',
      (m) => (m.medusa.tree = { ...tree, paths: [[0], [0, 0], [0, 0, 0], [0, 0, 0, 0]] }),
      /exceeds 3 heads/,
    ],
    ['a tree without a parent', (m) => (m.medusa.tree = { ...tree, paths: [[0], [1, 0]] }), /linnet\.json/],
  ])('%s in linnet.json', async (_, change, message) => {
    await expect(opening(await altered({}, change))).rejects.toThrow(message);
  });

  it('another graph in place of the heads, and weights of the model in place of theirs', async () => {
    const model = await readFile(join(folder, 'model.onnx'));
    await expect(opening(await altered({ 'medusa.onnx': model }))).rejects.toMatchObject({ code: 'FORMAT' });
    const graph = await readFile(join(folder, 'medusa.onnx'), 'latin1');
    // As long as the name it replaces: protobuf counts bytes.
    const elsewhere = Buffer.from(graph.replaceAll('medusa.onnx.data', 'model2.onnx.data'), 'latin1');
    await expect(opening(await altered({ 'medusa.onnx': elsewhere }))).rejects.toThrow(
      /a weight outside of medusa\.onnx\.data/,
    );
  });

  it('another device than the heads were made for', async () => {
    const read = await readExportedFolder(folder);
    await expect(openExportedHeads(read, { device: 'webgpu' })).rejects.toMatchObject({ code: 'MISMATCH' });
  });
});

describe('commands', () => {
  let folder = '';
  beforeAll(async () => {
    folder = join(place, 'command-int4');
    const words = ['export', withHeads, '--dtype', 'int4', '--out', folder];
    expect((await linnet(...words)).stdout).toMatch(
      /with Medusa heads: 3 heads of 1 block, .*, tree of 6 nodes \(given\)/,
    );
    const again = await runJson(...words, '--replace');
    expect(again.medusa).toMatchObject({ heads: 3, layers: 1, tree: { method: 'given', nodes: 6 } });
  });

  it('generate with them, in their tree or a given one', async () => {
    const words = ['generate', folder, '--prompt', prompts[1], '--max-tokens', '40', '--ignore-eos'];
    for (const more of [[], ['--temperature', '0.7', '--seed', '3']]) {
      const expected = await runJson(...words, ...more);
      const found = await runJson(...words, ...more, '--speculate', 'medusa');
      expect(found.tokens).toEqual(expected.tokens);
      expect(found.speculation).toMatchObject({ drafter: 'medusa' });
      expect(found.tokensPerStep).toBeGreaterThan(1.2);
    }
    const file = join(place, 'tree.json');
    await writeFile(file, '[[0],[0,0]]');
    const { tokensPerStep } = await runJson(...words, '--speculate', 'medusa', '--tree', file);
    expect(tokensPerStep).toBeLessThanOrEqual(3);
    expect((await runJson(...words, '--speculate', 'auto')).speculation).toMatchObject({ drafter: 'medusa+auto' });
  });

  it('measure with them', async () => {
    const plan = { model: folder, data: JSON.stringify([data]), prompts: 2, maxTokens: 32 };
    const small = Object.entries(plan).flatMap(([name, value]) => ['--set', `${name}=${value}`]);
    const { rules } = await runJson('study', 'rules', ...small, '--set', 'drafts=medusa');
    const rows = z.array(z.object({ mismatches: z.number(), tokensPerStep: z.number() })).parse(rules);
    expect(rows[0].mismatches).toBe(0);
    expect(rows[0].tokensPerStep).toBeGreaterThan(1.2);
    const reference = await runJson('study', 'rules', ...small);
    expect(reference.rules).not.toEqual(rules);
    const speed = ['bench', 'speculate', folder, '--data', data, '--context', '8', '--prompts', '1', '--tokens', '16'];
    expect(await runJson(...speed, '--rounds', '1')).toMatchObject({
      heads: 3,
      tree: { method: 'given', nodes: 6 },
    });
    const verify = ['bench', 'verify', folder, '--context', '8', '--rounds', '1', '--nodes', '1,4'];
    expect(z.object({ draftMs: z.number().positive() }).parse(await runJson(...verify)).draftMs).toBeLessThan(1000);
  });

  it('show them', async () => {
    expect((await linnet('inspect', folder)).stdout).toMatch(
      /Medusa +3 heads of 1 block, .*B, tree of 6 nodes \(given\)/,
    );
    const described = { heads: 3, layers: 1, tree: { method: 'given', nodes: 6 } };
    expect((await runJson('inspect', folder, '--verify')).medusa).toMatchObject(described);
    expect((await runJson('inspect', withHeads)).medusa).toEqual(described);
    expect((await runJson('inspect', plain)).medusa).toBeNull();
  });
});
