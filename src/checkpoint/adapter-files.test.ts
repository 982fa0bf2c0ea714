/** Adapters as PEFT writes them for models in parts: which matrices, which names, which scale. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { goldenConfig, relativeToPeak } from '../../test/parity/golden.ts';
import { suiteFolder } from '../../test/scratch-folder.ts';
import type { JsonObject } from '../files/json-object.ts';
import { float32, type Tensor } from '../graph/tensor.ts';
import { describeModel } from '../models/families/index.ts';
import { initializeParameters } from '../models/initialize.ts';
import { mergeLora } from '../nn/lora.ts';
import { Random } from '../random.ts';
import { loadAdapter } from './adapter-files.ts';
import { writeSafetensors } from './safetensors/writer.ts';

const place = suiteFolder();
const rank = 4;
const random = new Random(1);
const drawn = (shape: readonly number[]): Tensor<'float32'> =>
  float32(
    shape,
    Array.from({ length: shape[0] * shape[1] }, () => random.normal()),
  );

/** A folder with updates of `matrices`, [outputs, inputs], under names that begin with `prefix`. */
async function peftFolder(prefix: string, matrices: Readonly<Record<string, readonly [number, number]>>, config = {}) {
  const updates = new Map(
    Object.entries(matrices).map(([module, [outputs, inputs]]) => [
      module,
      { a: drawn([rank, inputs]), b: drawn([outputs, rank]) },
    ]),
  );
  const folder = join(place, String(random.uniform()));
  await mkdir(folder);
  const tensors = [...updates].flatMap(([module, update]) =>
    (['A', 'B'] as const).map((half) => {
      const { shape, data } = half === 'A' ? update.a : update.b;
      return { name: `base_model.model.${prefix}${module}.lora_${half}.weight`, dtype: 'F32' as const, shape, data };
    }),
  );
  await writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors);
  const all = { peft_type: 'LORA', r: rank, lora_alpha: 6, bias: 'none', ...config };
  await writeFile(join(folder, 'adapter_config.json'), JSON.stringify(all));
  return { folder, updates };
}

const text: JsonObject = goldenConfig('qwen35_mix31', z.record(z.string(), z.unknown()));
const composite: JsonObject = { model_type: 'qwen3_5', text_config: text, tie_word_embeddings: false };
const gemma: JsonObject = {
  model_type: 'gemma3',
  text_config: goldenConfig('gemma3_pattern6', z.record(z.string(), z.unknown())),
};

const ofQwen = {
  'layers.0.linear_attn.in_proj_a': [4, 16],
  'layers.1.linear_attn.in_proj_b': [4, 16],
  'layers.0.linear_attn.in_proj_qkv': [56, 16],
  'layers.3.self_attn.q_proj': [64, 16],
  'layers.2.mlp.down_proj': [16, 20],
} as const;

describe('an adapter', () => {
  it.each([
    ['the text model, for it', text, 'model.'],
    ['a composite model, for it', composite, 'model.language_model.'],
    ['the text model, for a composite model', composite, 'model.'],
  ] as const)('of %s: every matrix gets its update', async (_, config, prefix) => {
    const model = describeModel(config);
    const { folder, updates } = await peftFolder(prefix, ofQwen);
    const parameters = initializeParameters(model, new Random(2));
    const base = { model, parameters: model.parameters, fingerprint: '' };
    const read = await loadAdapter(folder, base);
    const merged = mergeLora(read.lora, new Map([...parameters, ...read.parameters]));
    expect([...merged.keys()].sort()).toEqual([...parameters.keys()].sort());
    const root = config === text ? 'model' : 'model.language_model';
    for (const [name, { data, shape }] of merged) {
      const own = data.map((value, i) => value - (parameters.get(name)?.data[i] ?? Number.NaN));
      const update = updates.get(name.replace(`${root}.`, '').replace('.weight', ''));
      const [, inputs] = shape;
      const expected = own.map((_value, at) => {
        if (update === undefined) return 0;
        const [row, column] = [Math.floor(at / inputs), at % inputs];
        let sum = 0;
        for (let k = 0; k < rank; k++) sum += update.b.data[row * rank + k] * update.a.data[k * inputs + column];
        return (6 / rank) * sum;
      });
      expect(relativeToPeak(own, expected), name).toBeLessThan(1e-5);
    }
  });

  it('of a container with pictures has its names, and a stabilized scale', async () => {
    const model = describeModel(gemma);
    const module = 'layers.1.self_attn.o_proj';
    const shape = model.parameters.get(`model.${module}.weight`)?.shape ?? [];
    const { folder, updates } = await peftFolder(
      'model.language_model.',
      { [module]: [shape[0], shape[1]] },
      { use_rslora: true },
    );
    const { lora, parameters } = await loadAdapter(folder, { model, parameters: model.parameters, fingerprint: '' });
    expect(lora).toMatchObject({ rank, alpha: 12 }); // α/√r = 12/r
    expect([...lora.matrices.keys()]).toEqual([`model.${module}.weight`]);
    expect(parameters.get(`model.${module}.lora_A.weight`)).toEqual(updates.get(module)?.a);
  });

  it('whose matrix the model lacks is refused by name', async () => {
    const model = describeModel(text);
    const { folder } = await peftFolder('model.', { 'layers.9.mlp.up_proj': [20, 16] });
    const loading = loadAdapter(folder, { model, parameters: model.parameters, fingerprint: '' });
    await expect(loading).rejects.toThrow(/surplus: "model.layers.9.mlp.up_proj.lora_A.weight"/);
  });
});
