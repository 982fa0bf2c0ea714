/** Exports for webgpu decode what exports for cpu do. Needs a driver, as webgpu.test.ts. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TokenTree } from '../../src/attention/tree.ts';
import { exportModel } from '../../src/export/export-model.ts';
import type { ExportManifest } from '../../src/export/manifest.ts';
import { openExportedHeads, readExportedFolder } from '../../src/open/folder-files.ts';
import { float32 } from '../../src/graph/tensor.ts';
import type { WeightType } from '../../src/quantization/sources.ts';
import { initializeMedusa } from '../../src/models/medusa/medusa.ts';
import { readerOf } from '../../src/quantization/weight-reader.ts';
import { isDeviceAvailable } from '../../src/runtime/availability.ts';
import { relativeToPeak } from '../parity/golden.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { randomParameters, randomTokens, tinyLlama } from '../models/tiny-llama.ts';
import { openReady } from '../open/ready-model.ts';

const absent = !(await isDeviceAvailable('webgpu'));

/**
 * Largest difference of logits, of their peak. In f16 the activations are rounded on webgpu alone; w8a8 runs the same
 * products on the CPU; int4 rounds activations on the CPU alone.
 */
const tolerances: readonly (readonly [WeightType, number])[] = [
  ['f32', 1e-4],
  ['f16', 1e-2],
  ['w8a8', 1e-2],
  ['int4', 3e-2],
];

describe.skipIf(absent)(`exports for webgpu${absent ? ' (skipped: no Vulkan, Metal or Direct3D driver)' : ''}`, () => {
  const augmented = { kind: 'linear', group: 8, local: {}, global: {}, convolution: { kernel: 9 } } as const;
  const model = tinyLlama([augmented, { kind: 'softmax' }]);
  const parameters = new Map(
    [...randomParameters(model, 5)].map(([name, { shape, data }]) => [
      name,
      float32(shape, Float32Array.from(data, Number)),
    ]),
  );
  const place = suiteFolder();

  /** Logits after a prompt, and of the nodes of a tree behind it. */
  async function decode(dtype: WeightType, device: ExportManifest['device']): Promise<Float64Array> {
    const dir = join(place, `${dtype}-${device}`);
    await exportModel(dir, { model, weights: readerOf(parameters), dtype, device });
    await using opened = await openReady(dir);
    const { engine } = opened;
    const state = engine.newState();
    const prompt = await engine.prefill(state, randomTokens(model, 21, 7));
    const parents = [-1, 0, 0, 1, 3, 2, 5];
    const tokens = randomTokens(model, parents.length, 8);
    const logits = [...prompt.logits];
    const request = { state, tree: new TokenTree(parents), tokens, wanted: parents.map((_, node) => node) };
    const [verified] = await engine.step([request]);
    for (const row of verified.logits) logits.push(...row);
    return Float64Array.from(logits);
  }

  it.each(tolerances)('as %s give the logits of exports for cpu', async (dtype, tolerance) => {
    const expected = await decode(dtype, 'cpu');
    const difference = relativeToPeak(await decode(dtype, 'webgpu'), expected);
    expect(difference).toBeLessThan(tolerance);
  });

  it.each(tolerances)('as %s have Medusa heads that give the logits of those for cpu', async (dtype, tolerance) => {
    const config = { heads: 2, layers: 1 };
    const heads = initializeMedusa(config, model, parameters);
    // Blocks at zero would hide their products.
    for (const [name, { data }] of heads)
      if (name.includes('.linear.')) data.forEach((_, i) => (data[i] = Math.sin(i)));
    const medusa = { config, ...readerOf(heads) };
    const hidden = Float32Array.from({ length: 3 * model.sizes.width }, (_, i) => Math.cos(i));
    const logits = async (device: ExportManifest['device']): Promise<Float64Array> => {
      const dir = join(place, `heads-${dtype}-${device}`);
      await exportModel(dir, { model, weights: readerOf(parameters), medusa, dtype, device });
      await using opened = await openExportedHeads(await readExportedFolder(dir));
      return Float64Array.from((await opened.logits(hidden)).data);
    };
    expect(relativeToPeak(await logits('webgpu'), await logits('cpu'))).toBeLessThan(tolerance);
  });
});
