/** Which models have the same bits in every tree and batch, and why others have not: all mixers and families, in every stored type. */
import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { canDecode } from '../../src/attention/mixers.ts';
import { mixerPreset, mixerPresetNames, type PresetOptions, takenOptions } from '../../src/attention/presets.ts';
import { formsOfExport, formsOfManifest, hasBlocks, storageTypeNames } from '../../src/export/manifest.ts';
import { blockSizes } from '../../src/graph/ops/quantized.ts';
import type { Device } from '../../src/graph/onnx/model.ts';
import { describeCausalModel, describeModel, supportedFamilies } from '../../src/models/families/index.ts';
import { modelLayout, roundingCauses } from '../../src/models/graphs/model-layout.ts';
import { type AutoregressiveModel, decoderOf } from '../../src/models/model.ts';
import { tinyLlama } from '../models/tiny-llama.ts';
import { tinyConfig } from '../models/tiny-model.ts';

const { graphs, forms, widths, unordered } = roundingCauses;

/** LLaMAs by preset. */
function ofMixers(options: PresetOptions = {}): [string, AutoregressiveModel][] {
  const mixers = mixerPresetNames().map((name) => [name, mixerPreset(name, takenOptions(name, options))] as const);
  return mixers.filter(([, mixer]) => canDecode(mixer)).map(([name, mixer]) => [name, tinyLlama([mixer])]);
}

function ofFamilies(): [string, AutoregressiveModel][] {
  return supportedFamilies.flatMap((family): [string, AutoregressiveModel][] => {
    const model = describeModel({ ...tinyConfig(family), ...(family === 'flash' && { group_size: 64 }) });
    return model.kind === 'encoder' ? [] : [[family, decoderOf(model)]];
  });
}

/** Causes by model, which no stored type changes; models without one are left out. */
function causes(models: readonly (readonly [string, AutoregressiveModel])[], device: Device = 'cpu') {
  const found: Record<string, string> = {};
  for (const [name, model] of models) {
    const ofTypes = storageTypeNames.flatMap((dtype) =>
      blockSizes.map(
        (block) =>
          modelLayout(model, formsOfExport({ device, block: hasBlocks(dtype) ? block : undefined })).roundingCause,
      ),
    );
    expect(new Set(ofTypes).size, name).toBe(1);
    if (ofTypes[0] !== undefined) found[name] = ofTypes[0];
  }
  return found;
}

it('no preset and no family is without the same bits', () => {
  expect(causes([...ofMixers(), ...ofFamilies()])).toEqual({});
});

it('nor are groups of a few positions', () => {
  for (const group of [1, 7, 16, 31])
    expect(causes(ofMixers({ group, block: group, rows: 1 })), String(group)).toEqual({});
});

it('rings of groups that are folded together have other names than earlier ones, whose exports so are refused', () => {
  const layout = modelLayout(tinyLlama([mixerPreset('augmented', { group: 16, kernel: 159 })]));
  expect(layout.slotLayouts.map(({ name }) => name)).toEqual(['g16x32p79c79f']);
});

it('long blocks and filters, and cosines of odd numbers', () => {
  expect(causes(ofMixers({ group: 100, block: 100, convolution: true, kernel: 159 }))).toEqual({ linformer: forms });
  expect(causes(ofMixers({ features: 10 }))).toEqual({ rfa: forms });
});

it('odd widths, and graphs for WebGPU', () => {
  const model = describeModel({ ...tinyConfig('llama'), head_dim: 6 });
  if (model.kind === 'encoder') throw new Error('a LLaMA decodes');
  const odd = [['heads of 6', decoderOf(model)]] as const;
  expect(causes(odd)).toEqual({ 'heads of 6': widths });
  expect(causes(odd, 'webgpu')).toEqual({ 'heads of 6': graphs });
});

it('exports of earlier versions, where logarithms and encoded texts had other bits', () => {
  const earlier = formsOfManifest({ openRows: true, replays: true });
  const causeWith = (num_key_value_heads: number): string | undefined => {
    const config = { ...tinyConfig('llama'), num_attention_heads: 6, hidden_size: 48, num_key_value_heads };
    const model = describeCausalModel(config);
    return modelLayout(model.withMixers(model.mixers.map(() => mixerPreset('window'))), earlier).roundingCause;
  };
  expect([6, 3, 2].map(causeWith)).toEqual([unordered, undefined, unordered]);
  const t5 = describeModel(tinyConfig('t5'));
  if (t5.kind === 'encoder') throw new Error('T5 decodes');
  expect(modelLayout(decoderOf(t5), earlier).roundingCause).toBe(unordered);
  expect(modelLayout(tinyLlama([{ kind: 'softmax' }]), earlier).roundingCause).toBe(undefined);
});

it('the documentation names every cause', async () => {
  const text = await readFile(new URL('../../docs/verify.md', import.meta.url), 'utf8');
  for (const cause of Object.values(roundingCauses)) expect(text.replace(/\s+/g, ' ')).toContain(cause);
});
