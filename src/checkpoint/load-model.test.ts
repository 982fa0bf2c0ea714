import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { mixerPreset } from '../attention/presets.ts';
import { float32, type Tensor } from '../graph/tensor.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { initializeParameters } from '../models/initialize.ts';
import type { CausalModel } from '../models/model.ts';
import { Random } from '../random.ts';
import { loadCausalModel, openInPlace, openModelWeights, saveModel } from './load-model.ts';
import { saveCheckpoint } from './save-checkpoint.ts';

const config = {
  model_type: 'llama',
  vocab_size: 20,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  tie_word_embeddings: true,
};
const plain = describeCausalModel(config);
const hybrid = plain.withMixers([mixerPreset('augmented', { group: 4, kernel: 5 }), { kind: 'softmax' }]);
const norm = 'model.norm.weight';
const embedding = 'model.embed_tokens.weight';

const folder = suiteFolder();

function parametersOf(model: CausalModel): Map<string, Tensor<'float32'>> {
  const parameters = initializeParameters(model, new Random(4), 0.3);
  const alpha = 'model.layers.0.self_attn.global_factor';
  if (parameters.has(alpha)) parameters.set(alpha, float32([1], [0.7]));
  return parameters;
}

/** Stores tensors under a configuration whether they fit or not. */
async function store(
  name: string,
  change: (tensors: Map<string, Tensor<'float32'>>) => void,
  json: Record<string, unknown> = config,
): Promise<string> {
  const tensors = parametersOf(plain);
  change(tensors);
  const dir = join(folder, name);
  await saveCheckpoint(dir, {
    config: json,
    tensors: [...tensors].map(([key, { shape, data }]) => ({ name: key, shape, data })),
  });
  return dir;
}

describe('saveModel and loadCausalModel', () => {
  it.each(['F32', 'F16', 'BF16'] as const)('give back a hybrid model in %s', async (dtype) => {
    const dir = join(folder, `hybrid-${dtype}`);
    const parameters = parametersOf(hybrid);
    await saveModel(dir, { model: hybrid, parameters }, { dtype });
    const loaded = await loadCausalModel(dir);
    expect(loaded.path).toBe(dir);
    expect(loaded.model.mixers).toEqual(hybrid.mixers);
    expect([...loaded.parameters.keys()]).toEqual([...parameters.keys()]);
    // Half a unit in the last of 11 (F16) or 8 (BF16) significant bits; below 2⁻¹⁴ F16 has fewer.
    const [relative, absolute] = { F32: [0, 0], F16: [2 ** -11, 2 ** -25], BF16: [2 ** -8, 0] }[dtype];
    for (const [name, { shape, data }] of parameters) {
      const found = loaded.parameters.get(name);
      expect(found?.shape).toEqual(shape);
      const errors = data.map((x, i) => Math.abs(x - Number(found?.data[i])) - relative * Math.abs(x) - absolute);
      expect(Math.max(...errors), name).toBeLessThanOrEqual(0);
    }
    // What was rounded once is not rounded again.
    const again = join(folder, `again-${dtype}`);
    await saveModel(again, loaded, { dtype });
    expect(await readFile(join(again, 'model.safetensors'))).toEqual(await readFile(join(dir, 'model.safetensors')));
  });

  it.each([
    ['F16', 'F16'],
    ['BF16', 'BF16'],
    ['F32', 'F32'],
    ['F16', 'F32'],
    ['F32', 'BF16'],
  ] as const)('copies %s to %s one by one with the bytes of a model in memory', async (from, to) => {
    const [stored, copied, saved] = ['stored', 'copied', 'saved'].map((name) => join(folder, `${name}-${from}-${to}`));
    await saveModel(stored, { model: hybrid, parameters: parametersOf(hybrid) }, { dtype: from });
    await using weights = await openModelWeights(stored);
    await saveModel(copied, { model: hybrid, parameters: weights.parameters }, { dtype: to });
    await saveModel(saved, await loadCausalModel(stored), { dtype: to });
    expect(await readFile(join(copied, 'model.safetensors'))).toEqual(await readFile(join(saved, 'model.safetensors')));
  });

  it('copies nothing that is no number', async () => {
    const dir = await store('copied-no-number', (tensors) => tensors.get(norm)?.data.set([Number.NaN], 3));
    await using weights = await openModelWeights(dir);
    const copy = join(folder, 'copy-of-no-number');
    await expect(saveModel(copy, weights, { dtype: 'F32' })).rejects.toThrow(/holds NaN at index 3/);
    await expect(loadCausalModel(copy)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('reads the names of a model that was saved without its head', async () => {
    const dir = await store('bare', (tensors) => {
      for (const [name, tensor] of [...tensors]) {
        tensors.delete(name);
        tensors.set(name.replace(/^model\./, ''), tensor);
      }
    });
    expect([...(await loadCausalModel(dir)).parameters.keys()]).toEqual([...plain.parameters.keys()]);
  });

  it('refuses what is no number whenever its pieces are read', async () => {
    const dir = await store('no-number-in-pieces', (tensors) => tensors.get(norm)?.data.set([Number.NaN], 3));
    await using weights = await openModelWeights(dir);
    const readAll = async (name: string): Promise<number> => {
      let numbers = 0;
      for await (const piece of weights.parameters.get(name)?.pieces('F32') ?? []) numbers += piece.length;
      return numbers;
    };
    for (let time = 0; time < 2; time++) {
      await expect(readAll(norm)).rejects.toThrow(/holds NaN at index 3/);
      expect(await readAll(embedding)).toBe(160);
    }
  });

  it('refuses to save what is not the model', async () => {
    const parameters = parametersOf(plain);
    const save = (): Promise<void> => saveModel(join(folder, 'never'), { model: plain, parameters }, {});
    parameters.set(norm, float32([9], new Float32Array(9)));
    await expect(save()).rejects.toThrow(`"${norm}" is [9], expected [8]`);
    parameters.delete(norm);
    await expect(save()).rejects.toThrow(`1 missing: "${norm}"`);
    await expect(loadCausalModel(join(folder, 'never'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('loadCausalModel', () => {
  it.each<[string, (tensors: Map<string, Tensor<'float32'>>) => void, string]>([
    ['missing', (tensors) => tensors.delete(norm), `1 missing: "${norm}"`],
    ['surplus', (tensors) => tensors.set('model.bias', float32([1], [0])), '1 surplus: "model.bias"'],
    [
      'misshapen',
      (tensors) => tensors.set(norm, float32([4, 2], new Float32Array(8))),
      `"${norm}" is [4,2], expected [8]`,
    ],
    [
      'all of that',
      (tensors) => {
        tensors.delete(norm);
        tensors.set('model.final.weight', float32([8], new Float32Array(8)));
        tensors.set(embedding, float32([21, 8], new Float32Array(168)));
      },
      `1 missing: "${norm}"; 1 surplus: "model.final.weight"; 1 of the wrong shape: "${embedding}" is [21,8], expected [20,8]`,
    ],
  ])('names tensors that are %s', async (title, change, message) => {
    const dir = await store(title.replaceAll(' ', '-'), change);
    await expect(loadCausalModel(dir)).rejects.toMatchObject({ code: 'TENSOR' });
    await expect(loadCausalModel(dir)).rejects.toThrow(message);
  });

  it('passes over a stored copy of a tied head, and over tables that follow from the configuration', async () => {
    const dir = await store('copies', (tensors) => {
      tensors.set('lm_head.weight', float32([20, 8], tensors.get(embedding)?.data ?? []));
      tensors.set('model.layers.0.self_attn.rotary_emb.inv_freq', float32([2], [1, 0.01]));
    });
    const { parameters } = await loadCausalModel(dir);
    expect([...parameters.keys()]).toEqual([...plain.parameters.keys()]);
  });

  it('refuses what is no number whenever it is asked for the fingerprint', async () => {
    const dir = await store('no-number', (tensors) => tensors.get(norm)?.data.set([Number.NaN], 3));
    await using weights = await openModelWeights(dir);
    for (let time = 0; time < 2; time++) await expect(weights.fingerprint()).rejects.toThrow(/holds NaN at index 3/);
  });

  it('wants the head of an untied model', async () => {
    const dir = await store('untied', () => undefined, { ...config, tie_word_embeddings: false });
    await expect(loadCausalModel(dir)).rejects.toThrow('1 missing: "lm_head.weight"');
  });

  it('wants the parameters of the mixers that the configuration names', async () => {
    const dir = await store('unmixed', () => undefined, hybrid.toJson());
    await expect(loadCausalModel(dir)).rejects.toThrow(
      '2 missing: "model.layers.0.self_attn.global_factor", "model.layers.0.self_attn.dwconv.weight"',
    );
  });

  it('tells models apart by weights and by configuration', async () => {
    const first = await store('first', () => undefined);
    const same = await store('same', () => undefined);
    const other = await store('other', (tensors) => tensors.set(norm, float32([8], new Float32Array(8).fill(2))));
    const renamed = await store('renamed', () => undefined, { ...config, rope_theta: 500 });
    const [a, b, c, d] = await Promise.all([first, same, other, renamed].map(loadCausalModel));
    expect(b.fingerprint).toBe(a.fingerprint);
    expect(new Set([a.fingerprint, c.fingerprint, d.fingerprint]).size).toBe(3);
  });

  it('reads from one open file while a model in place is held', async () => {
    const dir = await store('held', () => undefined);
    const { weights } = await openInPlace(dir);
    const first = await weights.read(norm);
    {
      await using _held = weights.hold();
      await weights.read(norm);
      await rm(dir, { recursive: true });
      expect(await weights.read(norm)).toEqual(first);
    }
    await expect(weights.read(norm)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('refuses a configuration that is none, before it looks at weights', async () => {
    const dir = await store('broken', () => undefined);
    await writeFile(join(dir, 'config.json'), '{"model_type":"llama"');
    await expect(loadCausalModel(dir)).rejects.toMatchObject({ code: 'FORMAT' });
    await writeFile(join(dir, 'config.json'), JSON.stringify({ ...config, hidden_size: 'wide' }));
    await expect(loadCausalModel(dir)).rejects.toThrow(/hidden_size/);
  });
});
