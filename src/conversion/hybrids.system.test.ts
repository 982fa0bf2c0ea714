/** Whole conversions of hybrids, family by family: what reads the whole past is exchanged, and nothing else. */
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { song } from '../../test/cli/text-data.ts';
import { saveTinyModel, tinyConfig } from '../../test/models/tiny-model.ts';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { loadCausalModel, saveModel } from '../checkpoint/load-model.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { modelStateBytes } from '../models/graphs/model-layout.ts';
import { initializeParameters } from '../models/initialize.ts';
import type { Tensor } from '../graph/tensor.ts';
import { Random } from '../random.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { convert, type Conversion } from './convert.ts';
import type { ConversionOptions } from './options.ts';
import { conversionTexts } from './texts.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);

async function textsFor(tokenizer: Tokenizer) {
  const documents = Array.from({ length: 12 }, (_, i) => ({ text: `${song} ${i} ${song}`, source: `${i}` }));
  return await conversionTexts(documents, tokenizer, { heldOut: 2, length: 64 });
}

beforeAll(() => saveTinyModel(at('base'), 1, 'llama'));

/** Four layers, of which the second and fourth read the whole past, and the kind of the others. */
const hybrids = [
  { family: 'lfm2', own: 'short-conv', layers: { full_attn_idxs: [1, 3] } },
  { family: 'gemma3_text', own: 'window', layers: {} },
  { family: 'qwen3_5_text', own: 'delta-net', layers: { full_attention_interval: 2 } },
  {
    family: 'olmo_hybrid',
    own: 'delta-net',
    layers: { layer_types: ['linear_attention', 'full_attention', 'linear_attention', 'full_attention'] },
  },
  {
    family: 'granitemoehybrid',
    own: 'mamba2',
    layers: { layer_types: ['mamba', 'attention', 'mamba', 'attention'] },
  },
];

it.each(hybrids)(
  'converts what reads the whole past in a hybrid, whose state is then constant: $family',
  async ({ family, own, layers }) => {
    const hybrid = describeCausalModel({ ...tinyConfig(family), num_hidden_layers: 4, ...layers });
    const parameters = initializeParameters(hybrid, new Random(1), 0.5);
    await saveModel(at(family), { model: hybrid, parameters }, { tokenizerFiles: { from: at('base') } });
    const original = await loadCausalModel(at(family));
    const tokenizer = await loadTokenizer(original.path);
    const convertKeeping = async (
      name: string,
      keep: ConversionOptions['keep'],
    ): Promise<Conversion<Tensor<'float32'>>> =>
      await convert(original, tokenizer, await textsFor(tokenizer), {
        budget: 0,
        steps: { transfer: 2, logits: 0, long: 0 },
        keep,
        group: 4,
        batch: 2,
        folder: at(name),
        compile: { threads: 1 },
      });
    const { model, progress } = await convertKeeping(`${family} converted`, { layers: [] });
    expect(model.mixers.map(({ kind }) => kind)).toEqual([own, 'window', own, 'window']);
    expect(modelStateBytes(model, 4096)).toBe(modelStateBytes(model, 64));
    expect(progress.stages.find(({ name }) => name === 'transfer')?.layers?.map(({ layer }) => layer)).toEqual([1, 3]);
    const partly = await convertKeeping(`${family} in part`, { auto: 1 });
    expect(partly.progress.sensitivity.map(({ layer }) => layer)).toEqual([1, 3]);
    expect(partly.model.mixers.filter(({ kind }) => kind === 'softmax')).toHaveLength(1);
    await expect(convertKeeping(`${family} wrong`, { layers: [0] })).rejects.toThrow(
      /layer 0 has no attention to keep; .* 1, 3/,
    );
  },
);

it('converts attention that has Mamba-2 beside it in every layer, and leaves that', async () => {
  await saveTinyModel(at('falcon'), 1, 'falcon_h1');
  const original = await loadCausalModel(at('falcon'));
  const tokenizer = await loadTokenizer(original.path);
  const { model, progress } = await convert(original, tokenizer, await textsFor(tokenizer), {
    budget: 0,
    steps: { transfer: 2, logits: 2, long: 2 },
    keep: { layers: [] },
    group: 4,
    batch: 2,
    folder: at('falcon.run'),
    compile: { threads: 1 },
  });
  const layers = original.model.mixers.length / 2;
  const names = (kind: string): string[] => Array.from({ length: layers }, () => kind);
  expect(model.mixers.map(({ kind }) => kind)).toEqual([...names('window'), ...names('mamba2')]);
  expect(modelStateBytes(model, 4096)).toBe(modelStateBytes(model, 64));
  expect(progress.stages.map(({ name }) => name).slice(0, 5)).toEqual([
    'linearize',
    'calibrate',
    'transfer',
    'logits',
    'long',
  ]);
});
