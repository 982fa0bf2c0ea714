import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { saveTinyModel, tinyConfig } from '../../../test/models/tiny-model.ts';
import { loadCausalModel, openModelWeights, saveModel } from '../../checkpoint/load-model.ts';
import { describeModel } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { Random } from '../../random.ts';
import { tokenizerFileContents } from '../../tokenizer/byte-level.ts';
import { byteTokenizerFiles } from '../../tokenizer/bytes.ts';
import { exportFolder, type ExportOptions } from '../../export/export-model.ts';
import type { ErrorReport } from '../../export/manifest.ts';
import { comparisonBytes, measureError, type MeasureOptions } from './measure-error.ts';

let place: string;
beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'linnet-measure-'));
});
afterAll(() => rm(place, { recursive: true }));

const windows = [17, 9].map((length) => ({
  tokens: Int32Array.from({ length }, (_, i) => (i * 37 + length) % 256),
  scoredFrom: 1,
}));
const text = { name: 'a made text', data: { windows, documents: 2 } };

/** The report of an export of the folder. */
async function reportOf(
  from: string,
  options: Pick<ExportOptions, 'dtype' | 'block'>,
  measuring: MeasureOptions = {},
): Promise<ErrorReport> {
  await using weights = await openModelWeights(from);
  const measure = (folder: string) => measureError(folder, weights, text, measuring);
  const { report } = await exportFolder(from, join(place, 'out'), { ...options, replace: true, measure });
  return report;
}

describe('the error report of an export', () => {
  it.each(['llama', 'gpt2', 'flash'])('of %s tells outputs and layers', async (family) => {
    const from = join(place, family);
    await saveTinyModel(from, 1, family);
    const exact = await reportOf(from, { dtype: 'f32' });
    expect(exact.note).toBeUndefined();
    expect(exact.layers).toHaveLength(2);
    for (const { max, activationRms } of exact.layers ?? []) {
      expect(max).toBeLessThan(1e-6);
      expect(activationRms).toBeGreaterThan(0);
    }
    const { layers = [], layerTokens, outputs } = await reportOf(from, { dtype: 'w8a8' });
    expect(outputs?.tokens).toBe(16 + 8);
    expect(layerTokens).toBe(17 + 9);
    expect(layers).toHaveLength(2);
    for (const { max, mean } of layers) {
      expect(mean).toBeGreaterThan(1e-4);
      expect(mean).toBeLessThan(0.1);
      expect(max).toBeGreaterThan(mean);
    }
  });

  it('measures layers in the block size of the export', async () => {
    const model = describeModel({ ...tinyConfig('llama'), hidden_size: 128, intermediate_size: 128 });
    const parameters = initializeParameters(model, new Random(3), 0.3);
    const from = join(place, 'wide');
    await saveModel(
      from,
      { model, parameters },
      { tokenizerFiles: tokenizerFileContents(byteTokenizerFiles()), dtype: 'F32' },
    );
    const narrow = await reportOf(from, { dtype: 'int4' });
    const again = await reportOf(from, { dtype: 'int4', block: 32 });
    const wide = await reportOf(from, { dtype: 'int4', block: 128 });
    expect(again).toEqual(narrow);
    narrow.layers?.forEach(({ mean }, layer) => expect(wide.layers?.[layer].mean).toBeGreaterThan(1.05 * mean));
    expect(wide.layers).toHaveLength(2);
  });

  it('says what was not compared where float32 does not fit', async () => {
    const from = join(place, 'fitting');
    await saveTinyModel(from);
    const { model } = await loadCausalModel(from);
    const needed = comparisonBytes(model);
    const report = await reportOf(from, { dtype: 'w8a8' }, { freeBytes: needed - 1 });
    expect(report.note).toMatch(/^outputs and layers were not compared: float32 needs 0\.0 GB of memory, 0\.0 GB are/);
    expect(report.outputs ?? report.layers ?? report.layerTokens).toBeUndefined();
    const fitting = await reportOf(from, { dtype: 'w8a8' }, { freeBytes: needed });
    expect(fitting.note).toBeUndefined();
    expect(fitting.layers).toHaveLength(2);
  });

  it('says from which layer on numbers are not finite', async () => {
    const from = join(place, 'large');
    const model = describeModel({ ...tinyConfig('llama'), num_hidden_layers: 3 });
    const parameters = initializeParameters(model, new Random(3), 0.3);
    parameters.get('model.layers.1.mlp.down_proj.weight')?.data.fill(3e38);
    await saveModel(
      from,
      { model, parameters },
      { tokenizerFiles: tokenizerFileContents(byteTokenizerFiles()), dtype: 'F32' },
    );
    const { note, outputs, layers } = await reportOf(from, { dtype: 'f32' });
    expect(note).toBe(
      'outputs were not compared: they are not finite; layers were not compared: they are not finite from layer 1 on',
    );
    expect(outputs ?? layers).toBeUndefined();
  });
});
