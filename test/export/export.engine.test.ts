/** Exported folders end to end: what is written, that it decodes as the model does, and what is refused. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadCausalModel, saveModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import { generateToEnd } from '../decoding/generated.ts';
import { exportFolder, exportModel, type ExportOptions } from '../../src/export/export-model.ts';
import { readExportedFolder } from '../../src/open/folder-files.ts';
import { storageTypeNames } from '../../src/export/manifest.ts';
import { WRITTEN_FILES } from '../../src/files/written-folder.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';
import { parseMixer } from '../../src/attention/mixers.ts';
import { weightTypes } from '../../src/quantization/sources.ts';
import { readerOf } from '../../src/quantization/weight-reader.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { openReady } from '../open/ready-model.ts';

const place = suiteFolder();
const base = join(place, 'base');
const augmented = join(place, 'augmented');

beforeAll(async () => {
  await saveTinyModel(base);
  const loaded = await loadCausalModel(base);
  const mixer = parseMixer({ kind: 'linear', group: 8, local: {}, global: {}, convolution: { kernel: 9 } });
  const linear = linearize(loaded.model, loaded.parameters, mixer, [1]);
  for (const [name, { data }] of linear.parameters) if (name.endsWith('global_factor')) data.fill(0.7);
  await saveModel(augmented, linear, { tokenizerFiles: { from: base } });
});

const prompt = Int32Array.from([256, 79, 110, 99, 101, 32, 117, 112, 111, 110]);

async function greedy(engine: StepEngine): Promise<readonly number[]> {
  return (await generateToEnd(engine, { promptTokens: prompt, maxTokens: 30, ignoreEos: true })).tokens;
}

async function exported(
  name: string,
  options: Omit<Parameters<typeof exportFolder>[2], 'dtype'> & { dtype?: ExportOptions['dtype'] } = {},
): Promise<string> {
  const folder = join(place, name);
  await rm(folder, { recursive: true, force: true });
  await exportFolder(augmented, folder, { dtype: 'f32', ...options });
  return folder;
}

describe('an exported folder', () => {
  it('decodes the text of the model it was made from, from its files alone', async () => {
    const folder = await exported('f32');
    const loaded = await loadCausalModel(augmented);
    await using engine = await DecodingEngine.create(loaded.model, loaded.parameters);
    await using opened = await openReady(folder);
    expect(await greedy(opened.engine)).toEqual(await greedy(engine));
    expect((await loadTokenizer(folder)).encode('Once')).toEqual((await loadTokenizer(base)).encode('Once'));
    expect(opened.model.mixers).toEqual(loaded.model.mixers);
  });

  it('runs in a worker', async () => {
    const folder = await exported('f32');
    await using here = await openReady(folder);
    await using opened = await openReady(folder, { worker: true });
    expect(await greedy(opened.engine)).toEqual(await greedy(here.engine));
  });

  it.each(storageTypeNames)('as %s lists its files, their sizes and checksums', async (dtype) => {
    const folder = await exported(dtype, { dtype });
    const { manifest } = await readExportedFolder(folder, { verify: true });
    expect(manifest).toMatchObject({ dtype, device: 'cpu', folds: { 'unit keys': 'fold-0.onnx' } });
    const others = (await readdir(folder)).filter((name) => name !== 'linnet.json' && name !== WRITTEN_FILES).sort();
    expect(Object.keys(manifest.files).sort()).toEqual(others);
    for (const [name, { bytes, sha256 }] of Object.entries(manifest.files)) {
      const content = await readFile(join(folder, name));
      expect(content.length).toBe(bytes);
      expect(createHash('sha256').update(content).digest('hex')).toBe(sha256);
    }
    expect(Object.keys(manifest.report.weights).length).toBe(dtype === 'f32' ? 0 : 2 * 7 + 1);
    // As any user of ONNX Runtime would open it.
    const session = await InferenceSession.create(join(folder, 'model.onnx'));
    expect(session.outputNames).toEqual(['logits', 'hidden', 'rows']);
    await session.release();
  });

  it.each(storageTypeNames)('as %s gives the logits of the same weights in memory', async (dtype) => {
    await using opened = await openReady(await exported(dtype, { dtype }));
    const { logits } = await opened.engine.prefill(opened.engine.newState(), prompt);
    expect([...logits].every(Number.isFinite)).toBe(true);
    const loaded = await loadCausalModel(augmented);
    const again = join(place, `${dtype}-memory`);
    await exportModel(again, { model: loaded.model, weights: readerOf(loaded.parameters), dtype });
    await using second = await openReady(again, { spin: false });
    const other = await second.engine.prefill(second.engine.newState(), prompt);
    expect([...other.logits]).toEqual([...logits]);
    // The tokenizer is not a part of what ties sessions to a model.
    expect(second.fingerprint).toBe(opened.fingerprint);
  });

  it('differs in its fingerprint by storage type', async () => {
    const prints = await Promise.all(
      storageTypeNames.map(async (dtype) => readExportedFolder(await exported(dtype, { dtype }))),
    );
    expect(new Set(prints.map(({ fingerprint }) => fingerprint)).size).toBe(storageTypeNames.length);
  });

  it('is smaller with fewer bits', async () => {
    const sizes = await Promise.all(
      weightTypes.map(
        async (dtype) => (await readExportedFolder(await exported(dtype, { dtype }))).manifest.weightBytes,
      ),
    );
    expect([...sizes].sort((a, b) => b - a)).toEqual(sizes);
  });

  it('tells how far it is', async () => {
    const seen: number[] = [];
    const folder = await exported('progress', { onProgress: (written, total) => seen.push(written / total) });
    expect(seen.at(-1)).toBe(1);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect((await stat(join(folder, 'model.onnx.data'))).size).toBeGreaterThan(0);
  });
});

describe('exporting leaves nothing behind', () => {
  const refused = async (options: Partial<Parameters<typeof exportFolder>[2]>, error: RegExp): Promise<void> => {
    const parent = join(place, 'parent');
    await mkdir(parent, { recursive: true });
    await expect(exportFolder(augmented, join(parent, 'out'), { dtype: 'w8a8', ...options })).rejects.toThrow(error);
    expect(await readdir(parent)).toEqual([]);
  };

  it('where the disk lacks room, before a weight is written', async () => {
    const written: number[] = [];
    await refused(
      { freeBytes: () => Promise.resolve(1e4), onProgress: (bytes) => written.push(bytes) },
      /needs \d+\.\d MB, but only 0\.0 MB are free/,
    );
    expect(written).toEqual([]);
  });

  it('when it is stopped', async () => {
    await refused({ signal: AbortSignal.abort() }, /the export was stopped/);
  });

  it('when a weight cannot be stored', async () => {
    const loaded = await loadCausalModel(augmented);
    loaded.parameters.get('model.layers.0.mlp.up_proj.weight')?.data.fill(Number.NaN);
    const parent = join(place, 'parent');
    const options = { model: loaded.model, weights: readerOf(loaded.parameters), dtype: 'int4' } as const;
    await expect(exportModel(join(parent, 'out'), options)).rejects.toMatchObject({ code: 'TENSOR' });
    expect(await readdir(parent)).toEqual([]);
  });

  it('over a folder that exists, unless it may be replaced', async () => {
    const folder = await exported('f32');
    const before = await readFile(join(folder, 'linnet.json'), 'utf8');
    await expect(exportFolder(augmented, folder, { dtype: 'w8a8' })).rejects.toMatchObject({ code: 'PATH' });
    expect(await readFile(join(folder, 'linnet.json'), 'utf8')).toBe(before);
    await exportFolder(augmented, folder, { dtype: 'w8a8', replace: true });
    expect((await readExportedFolder(folder)).manifest.dtype).toBe('w8a8');
  });
});

describe('opening refuses', () => {
  const manifestSchema = z.looseObject({
    files: z.record(z.string(), z.object({ bytes: z.number(), sha256: z.string() })),
    folds: z.record(z.string(), z.string()),
  });
  type Manifest = z.infer<typeof manifestSchema>;
  let folder: string;
  beforeAll(async () => {
    folder = await exported('hostile', { dtype: 'w8a8' });
  });

  /** A copy of the folder with another linnet.json. */
  async function withManifest(change: (manifest: Manifest) => void): Promise<string> {
    const fresh = await exported('hostile', { dtype: 'w8a8' });
    const file = join(fresh, 'linnet.json');
    const manifest = manifestSchema.parse(JSON.parse(await readFile(file, 'utf8')));
    change(manifest);
    await writeFile(file, JSON.stringify(manifest));
    return fresh;
  }

  it.each<[string, (manifest: Manifest) => void, RegExp]>([
    ['another version', (m) => (m.version = 2), /version/],
    ['an unknown field', (m) => (m.extra = 1), /extra/],
    ['an unknown type', (m) => (m.dtype = 'int3'), /dtype/],
    ['a path', (m) => (m.files['../model.onnx'] = m.files['model.onnx']), /files/],
    ['a missing graph', (m) => delete m.files['model.onnx'], /does not list the file model\.onnx/],
    ['a fold that is not listed', (m) => (m.folds['unit keys'] = 'fold-7.onnx'), /does not list the file fold-7\.onnx/],
    ['no fold where the model has sums', (m) => (m.folds = {}), /names no fold graph for "unit keys"/],
    [
      'the wrong graph for a fold',
      (m) => (m.folds['unit keys'] = 'model.onnx'),
      /which its configuration does not ask/,
    ],
    ['another size', (m) => (m.files['model.onnx.data'].bytes += 1), /has \d+ bytes, but linnet\.json says/],
    ['another checksum', (m) => (m.files['model.onnx'].sha256 = '0'.repeat(64)), /does not match its checksum/],
    ['a file that is not there', (m) => (m.files['more.txt'] = { bytes: 1, sha256: '0'.repeat(64) }), /cannot open/],
  ])('%s in linnet.json', async (_, change, message) => {
    const dir = await withManifest(change);
    const opening = openReady(dir).then((model) => model.engine.dispose());
    await expect(opening).rejects.toThrow(message);
  });

  it('no JSON, JSON with a key twice, and too much of it', async () => {
    const file = join(await exported('hostile', { dtype: 'w8a8' }), 'linnet.json');
    for (const text of ['', '[]', '{"format":"linnet-export","format":"linnet-export"}', ' '.repeat(17 << 20)]) {
      await writeFile(file, text);
      await expect(openReady(folder)).rejects.toMatchObject({ code: 'FORMAT' });
    }
  });

  it('damaged weights, where they are verified', async () => {
    const dir = await exported('damaged');
    const file = join(dir, 'model.onnx.data');
    const bytes = await readFile(file);
    bytes[100] ^= 1;
    await writeFile(file, bytes);
    await expect(readExportedFolder(dir, { verify: true })).rejects.toMatchObject({ code: 'FORMAT' });
  });

  it('files that are missing, or links out of the folder', async () => {
    const dir = await exported('linked');
    const data = join(dir, 'model.onnx.data');
    await rename(data, join(place, 'elsewhere'));
    await expect(openReady(dir)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await symlink(join(place, 'elsewhere'), data);
    await expect(openReady(dir)).rejects.toMatchObject({ code: 'PATH' });
  });

  it('a configuration of another shape than the graph', async () => {
    const dir = await withManifest(() => undefined);
    const file = join(dir, 'config.json');
    const config = z.looseObject({}).parse(JSON.parse(await readFile(file, 'utf8')));
    const text = JSON.stringify({ ...config, vocab_size: 300 });
    await writeFile(file, text);
    const manifestFile = join(dir, 'linnet.json');
    const manifest = manifestSchema.parse(JSON.parse(await readFile(manifestFile, 'utf8')));
    const sha256 = createHash('sha256').update(text).digest('hex');
    manifest.files['config.json'] = { bytes: Buffer.byteLength(text), sha256 };
    await writeFile(manifestFile, JSON.stringify(manifest));
    await expect(openReady(dir)).rejects.toThrow(/output "logits" is float32\[W,258\].*float32\[W,300\]/);
  });

  it('another device than it was made for', async () => {
    const dir = await exported('f32');
    await expect(openReady(dir, { device: 'webgpu' })).rejects.toMatchObject({ code: 'MISMATCH' });
  });

  it('a folder that is not an export', async () => {
    await expect(readExportedFolder(base)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
