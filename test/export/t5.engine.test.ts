/** Exported folders of T5: the decoder's step graph, the encoder over several lengths, and what opening refuses. */
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { generateToEnd } from '../decoding/generated.ts';
import { bestBeams } from '../decoding/beams.ts';
import { lookupDrafter } from '../../src/decoding/speculation/drafters/registry.ts';
import { speculative } from '../../src/decoding/speculation/speculative.ts';
import { restoreSession, saveSession } from '../../src/decoding/state/session-file.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import { type ExportOptions, exportModel } from '../../src/export/export-model.ts';
import { type ExportManifest, type StorageType, storageTypeNames } from '../../src/export/manifest.ts';
import { readExportedFolder } from '../../src/open/folder-files.ts';
import { WRITTEN_FILES } from '../../src/files/written-folder.ts';
import { float32, type Tensor } from '../../src/graph/tensor.ts';
import { readOnnxSummary } from '../../src/graph/onnx/reader.ts';
import type { EncoderDecoderModel } from '../../src/models/model.ts';
import { t5Model } from '../../src/models/families/t5/model.ts';
import { readerOf } from '../../src/quantization/weight-reader.ts';
import { errorCode } from '../error-code.ts';
import { bitsByReading } from '../../src/evaluation/check/same-bits.ts';
import { randomParameters, tinyLlama } from '../models/tiny-llama.ts';
import { randomT5Weights, t5MixerNames, tinyT5 } from '../models/tiny-t5.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { openReady } from '../open/ready-model.ts';

const place = suiteFolder();

function floats(parameters: ReadonlyMap<string, Tensor>): Map<string, Tensor<'float32'>> {
  return new Map(
    [...parameters].map(([name, { shape, data }]) => [name, float32(shape, Float32Array.from(data, Number))]),
  );
}

/** Exports a tiny T5. */
async function exported(
  name: string,
  model: EncoderDecoderModel,
  options: Partial<ExportOptions> = {},
): Promise<{ folder: string; manifest: ExportManifest }> {
  const folder = join(place, name);
  const weights = readerOf(floats(randomT5Weights(model, 5)));
  const lengths = { sourceLengths: [32, 64] };
  return { folder, manifest: await exportModel(folder, { model, weights, dtype: 'f32', ...lengths, ...options }) };
}

/** Texts that need each of the two lengths. */
const sources = [7, 40, 64].map((length) => Array.from({ length }, (_, i) => 2 + ((5 * i + length) % 17)));

async function greedy(engine: StepEngine, source: readonly number[], maxTokens = 25): Promise<readonly number[]> {
  const state = engine.newState(await engine.encode(source));
  return (await generateToEnd(engine, { promptTokens: [], maxTokens, ignoreEos: true, state })).tokens;
}

describe.each(t5MixerNames)('an exported T5 of %s', (name) => {
  it('generates the texts of the model it was made from', async () => {
    const model = tinyT5(name);
    const { folder } = await exported(`mixer ${name}`, model);
    await using engine = await DecodingEngine.create(model, randomT5Weights(model, 5), { threads: 1 });
    await using opened = await openReady(folder, { threads: 1 });
    expect(opened.model.kind).toBe('encoder-decoder');
    for (const source of sources) expect(await greedy(opened.engine, source)).toEqual(await greedy(engine, source));
  });
});

/** Wide enough that its matrices are larger than what stays in the files of graphs. */
const wide = t5Model({
  ...tinyT5('local+global').toJson(),
  ...{ d_model: 48, d_kv: 24, d_ff: 64 },
});

describe.each(storageTypeNames)('an exported T5 as %s', (dtype) => {
  const model = wide;

  it('has the same bits beside other texts, and says that an earlier version has not', async () => {
    const { folder } = await exported(`${dtype} alike`, model, { dtype });
    await using opened = await openReady(folder, { threads: 1 });
    expect(await opened.engine.sameBits()).toBe(true);
    const bits = await bitsByReading(opened.engine, { length: 72 });
    expect(bits).toEqual({ alone: true, chain: true, tree: true, batch: true, chunks: true });
    const file = join(folder, 'linnet.json');
    await writeFile(file, (await readFile(file, 'utf8')).replace(/"ordered": true,\s*/, ''));
    await using earlier = await openReady(folder, { threads: 1 });
    expect(await earlier.engine.sameBits()).toBe(false);
  });

  it('speculates, searches by beams and goes on from a session as with the same weights in sequence', async () => {
    const { folder } = await exported(dtype, model, { dtype });
    await using opened = await openReady(folder, { threads: 1 });
    const { engine, fingerprint } = opened;
    const text = await greedy(engine, sources[0]);
    expect(new Set(text).size).toBeGreaterThan(2);
    const encoded = await engine.encode(sources[0]);
    const options = { promptTokens: [], maxTokens: 25, ignoreEos: true };
    const method = speculative(lookupDrafter());
    const drafted = await generateToEnd(engine, { ...options, method, state: engine.newState(encoded) });
    expect(drafted.tokens).toEqual(text);
    expect(drafted.steps).toBeLessThan(25);
    const [[best]] = await bestBeams(engine, [[]], 1, { maxTokens: 25, ignoreEos: true, sources: [sources[0]] });
    expect(best.tokens).toEqual(text);

    const file = join(place, `${dtype}.session`);
    const first = await generateToEnd(engine, { ...options, maxTokens: 11, state: engine.newState(encoded) });
    const promptTokens = [0, ...first.tokens];
    await saveSession(file, { state: first.state, tokens: promptTokens, fingerprint });
    await using again = await openReady(folder, { threads: 1 });
    const { state } = await restoreSession(file, again.engine, again.fingerprint);
    const rest = await generateToEnd(again.engine, { promptTokens, maxTokens: 14, ignoreEos: true, state });
    expect([...first.tokens, ...rest.tokens]).toEqual(text);
  });

  it('lists its files, one of them with the weights of all encoders', async () => {
    const { folder, manifest } = await exported(dtype, model, { dtype, replace: true });
    expect((await readExportedFolder(folder, { verify: true })).manifest).toEqual(manifest);
    const files = (await readdir(folder)).filter((file) => file !== 'linnet.json' && file !== WRITTEN_FILES).sort();
    expect(Object.keys(manifest.files).sort()).toEqual(files);
    expect(files.filter((file) => file.startsWith('encoder'))).toEqual([
      'encoder-32.onnx',
      'encoder-64.onnx',
      'encoder.onnx.data',
    ]);
    expect(files).not.toContain('prompt.onnx');
    expect(manifest.encoder?.lengths).toEqual([32, 64]);
    const placesOf = async (file: string): Promise<string[]> => {
      const { external } = readOnnxSummary(await readFile(join(folder, file)), file);
      return external.map(({ path, offset, length }) => `${path} ${offset} ${length}`).sort();
    };
    const places = await placesOf('encoder-32.onnx');
    expect(await placesOf('encoder-64.onnx')).toEqual(places);
    const { size } = await stat(join(folder, 'encoder.onnx.data'));
    const lengths = places.map((each) => Number(each.split(' ')[2]));
    expect(size).toBeLessThan(lengths.reduce((sum, length) => sum + length, 0) + 4096 * lengths.length);
    // Matrices of the encoder, what reads its hidden states, and the decoder.
    const matrices = 2 * 6 + 2 + (2 * 4 - 2) + 2 + 1;
    expect(Object.keys(manifest.report.weights)).toHaveLength(dtype === 'f32' ? 0 : matrices);
  });
});

/** How far logits may be from float32, of their peak, for a model of random weights of width 8. */
const tolerances: Readonly<Record<StorageType, number>> = { f32: 1e-5, f16: 2e-2, w8a8: 0.3, int4: 1, mixed: 1 };

it.each(storageTypeNames)('an encoder stored as %s keeps roughly what that of float32 does', async (dtype) => {
  const model = tinyT5('softmax');
  const { folder } = await exported(`close ${dtype}`, model, { dtype });
  await using engine = await DecodingEngine.create(model, randomT5Weights(model, 5), { threads: 1 });
  await using opened = await openReady(folder, { threads: 1 });
  const expected = await engine.encode(sources[0]);
  const found = await opened.engine.encode(sources[0]);
  for (const [layer, tensors] of expected.layers.entries()) {
    for (const [name, { data }] of Object.entries(tensors)) {
      const other = found.layers[layer][name].data;
      const peak = Math.max(...data.map(Math.abs));
      const worst = Math.max(...data.map((value, i) => Math.abs(value - other[i])));
      expect(worst / peak).toBeLessThan(tolerances[dtype]);
    }
  }
});

describe('lengths of source texts', () => {
  const model = tinyT5('softmax');

  it('are by doubling up to the trained length where none are named, and up to what mixers serve', async () => {
    const { manifest } = await exported('lengths', model, { sourceLengths: undefined });
    expect(manifest.encoder?.lengths).toEqual([32, 64, 128, 256, 512]);
    const linformer = await exported('short', tinyT5('linformer'), { sourceLengths: undefined });
    expect(linformer.manifest.encoder?.lengths).toEqual([32, 64, 128]);
  });

  it('are sorted, and texts up to the last are read', async () => {
    const { folder, manifest } = await exported('sorted', model, { sourceLengths: [48, 20, 48] });
    expect(manifest.encoder?.lengths).toEqual([20, 48]);
    await using opened = await openReady(folder, { threads: 1 });
    const text = (length: number): number[] => Array.from({ length }, () => 3);
    expect((await opened.engine.encode(text(48))).tokens).toHaveLength(48);
    await expect(opened.engine.encode(text(49))).rejects.toThrow(/49 tokens is longer than the 48/);
  });

  it.each([[[0]], [[1.5]], [[]], [[2 ** 21]]])('of %j are refused', async (sourceLengths) => {
    expect(await errorCode(() => exported('refused', model, { sourceLengths }))).toBe('CONFIG');
  });

  it('are refused where mixers do not serve them, or there is no encoder', async () => {
    expect(await errorCode(() => exported('refused', tinyT5('linformer'), { sourceLengths: [129] }))).toBe('CONFIG');
    const llama = tinyLlama([{ kind: 'softmax' }]);
    const weights = readerOf(floats(randomParameters(llama, 1)));
    const options = { model: llama, weights, dtype: 'f32', sourceLengths: [32] } as const;
    expect(await errorCode(() => exportModel(join(place, 'refused'), options))).toBe('CONFIG');
  });
});

describe('opening refuses', () => {
  const manifestSchema = z.looseObject({
    encoder: z.object({ lengths: z.array(z.number()), weightBytes: z.number() }).optional(),
    files: z.record(z.string(), z.unknown()),
  });

  async function withManifest(change: (manifest: z.infer<typeof manifestSchema>) => void): Promise<string> {
    await rm(join(place, 'hostile'), { recursive: true, force: true });
    const { folder } = await exported('hostile', tinyT5('softmax'));
    const file = join(folder, 'linnet.json');
    const manifest = manifestSchema.parse(JSON.parse(await readFile(file, 'utf8')));
    change(manifest);
    await writeFile(file, JSON.stringify(manifest));
    return folder;
  }

  it.each<[string, (manifest: z.infer<typeof manifestSchema>) => void, RegExp]>([
    ['no encoder', (manifest) => delete manifest.encoder, /describes a t5 model without its encoder/],
    [
      'a length without a graph',
      (manifest) => manifest.encoder?.lengths.push(128),
      /does not list .*encoder-128\.onnx/,
    ],
    ['lengths that fall', (manifest) => manifest.encoder?.lengths.reverse(), /lengths must rise/],
    [
      'the graph of another length',
      (manifest) => {
        manifest.files['encoder-64.onnx'] = manifest.files['encoder-32.onnx'];
      },
      /encoder-64\.onnx/,
    ],
  ])('%s', async (_, change, message) => {
    const folder = await withManifest(change);
    await expect(openReady(folder)).rejects.toThrow(message);
    expect(await errorCode(() => openReady(folder))).toBe('FORMAT');
  });

  it('an encoder whose inputs are of another length', async () => {
    const { folder } = await exported('other length', tinyT5('softmax'));
    const file = join(folder, 'linnet.json');
    const manifest = manifestSchema.parse(JSON.parse(await readFile(file, 'utf8')));
    await writeFile(join(folder, 'encoder-64.onnx'), await readFile(join(folder, 'encoder-32.onnx')));
    manifest.files['encoder-64.onnx'] = manifest.files['encoder-32.onnx'];
    await writeFile(file, JSON.stringify(manifest));
    await expect(openReady(folder)).rejects.toThrow(/encoder-64\.onnx: input "tokens" is int32\[1,32\]/);
  });
});
