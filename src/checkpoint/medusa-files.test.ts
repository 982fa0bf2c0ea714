import { link, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { scratchFolder } from '../../test/scratch-folder.ts';
import { saveTinyModel } from '../../test/models/tiny-model.ts';
import { mixerPreset } from '../attention/presets.ts';
import { linearize } from '../models/linearization/linearize.ts';
import { initializeMedusa, medusaParameters } from '../models/medusa/medusa.ts';
import { parseJsonObject } from '../files/json-object.ts';
import { type LoadedModel, loadCausalModel, saveModel } from './load-model.ts';
import { hasMedusaHeads, loadMedusaHeads, MEDUSA_FILE, MEDUSA_WEIGHTS_FILE, saveMedusaHeads } from './medusa-files.ts';
import { writeSafetensors } from './safetensors/writer.ts';

const config = { heads: 2, layers: 1 };
const tree = { paths: [[0], [1], [0, 0]], method: 'greedy' as const, expectedLength: 1.5 };

describe('Medusa heads in a model folder', () => {
  let folder: string;
  let model: LoadedModel;
  beforeEach(async () => {
    folder = join(await scratchFolder(), 'model');
    await saveTinyModel(folder);
    model = await loadCausalModel(folder);
  });

  async function save(): Promise<void> {
    const parameters = initializeMedusa(config, model.model, model.parameters);
    await saveMedusaHeads(folder, { config, parameters, base: model.fingerprint, tree, accuracy: [[0.5], [0.25]] });
  }

  async function rewrite(change: Record<string, unknown>): Promise<void> {
    const file = join(folder, MEDUSA_FILE);
    await writeFile(file, JSON.stringify({ ...parseJsonObject(await readFile(file), file), ...change }));
  }

  it('come back as they were saved, and the model still loads', async () => {
    expect(await hasMedusaHeads(folder)).toBe(false);
    await save();
    expect(await hasMedusaHeads(folder)).toBe(true);
    const stored = await loadMedusaHeads(folder, await loadCausalModel(folder));
    expect(stored).toMatchObject({ config, tree, accuracy: [[0.5], [0.25]] });
    expect([...stored.parameters.keys()]).toEqual([...medusaParameters(config, model.model.sizes).keys()]);
    const fresh = initializeMedusa(config, model.model, model.parameters);
    for (const [name, { data }] of stored.parameters) expect(data).toEqual(fresh.get(name)?.data);
  });

  it('keep the tree that an earlier version searched for', async () => {
    await save();
    await rewrite({ tree: { paths: [[0]], method: 'given' }, acceptance: [[0.4, 0.1], [0.2]] });
    const stored = await loadMedusaHeads(folder, model);
    expect(stored.tree).toEqual({ paths: [[0]], method: 'given' });
    expect(stored.accuracy).toEqual([[0.5], [0.25]]);
  });

  it('do not travel to a folder made of another model', async () => {
    await save();
    const changed = linearize(model.model, model.parameters, mixerPreset('augmented'));
    const out = join(folder, '../linearized');
    await saveModel(out, changed, { tokenizerFiles: { from: folder } });
    expect((await readdir(out)).filter((name) => name.includes('medusa'))).toEqual([]);
    // Copied by hand, they are refused.
    for (const name of [MEDUSA_FILE, MEDUSA_WEIGHTS_FILE]) {
      await writeFile(join(out, name), await readFile(join(folder, name)));
    }
    await expect(loadMedusaHeads(out, await loadCausalModel(out))).rejects.toMatchObject({ code: 'MISMATCH' });
  });

  it('are reported missing with advice', async () => {
    await expect(loadMedusaHeads(folder, model)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(loadMedusaHeads(folder, model)).rejects.toThrow('linnet medusa train');
  });

  it.each([
    ['a rank path that is too long for the heads', { tree: { paths: [[0], [0, 0], [0, 0, 0]], method: 'given' } }],
    ['a tree with a missing prefix', { tree: { paths: [[1, 0]], method: 'given' } }],
    ['a path twice', { tree: { paths: [[0], [0]], method: 'given' } }],
    ['a negative rank', { tree: { paths: [[-1]], method: 'given' } }],
    ['a rank that is not an integer', { tree: { paths: [[0.5]], method: 'given' } }],
    ['no paths', { tree: { paths: [], method: 'given' } }],
    ['thousands of paths', { tree: { paths: Array.from({ length: 2000 }, () => [0]), method: 'given' } }],
    ['too many heads', { heads: 1e9 }],
    ['no heads', { heads: 0 }],
    ['another version', { version: 2 }],
    ['an unknown field', { surprise: 1 }],
    ['a fingerprint that is none', { base: '../../etc/passwd' }],
    ['an acceptance above 1', { acceptance: [[2]] }],
  ])('with %s are refused', async (_name, change) => {
    await save();
    await rewrite(change);
    await expect(loadMedusaHeads(folder, model)).rejects.toMatchObject({ code: 'FORMAT' });
  });

  it('whose tensors are not those described are refused', async () => {
    await save();
    await rewrite({ heads: 1, tree: undefined });
    await expect(loadMedusaHeads(folder, model)).rejects.toMatchObject({ code: 'TENSOR' });
    await rewrite({ heads: 2, layers: 2 });
    await expect(loadMedusaHeads(folder, model)).rejects.toMatchObject({ code: 'TENSOR' });
  });

  it('of another run than their description are refused', async () => {
    await save();
    const parameters = initializeMedusa(config, model.model, model.parameters);
    const entries = [...parameters].map(([name, { shape, data }]) => ({ name, dtype: 'F32' as const, shape, data }));
    await writeSafetensors(join(folder, MEDUSA_WEIGHTS_FILE), entries, { base: 'f'.repeat(64) });
    await expect(loadMedusaHeads(folder, model)).rejects.toMatchObject({ code: 'MISMATCH' });
  });

  it('that are torn, or links out of the folder, are refused', async () => {
    await save();
    const weights = join(folder, MEDUSA_WEIGHTS_FILE);
    const bytes = await readFile(weights);
    await writeFile(weights, bytes.subarray(0, bytes.length - 8));
    await expect(loadMedusaHeads(folder, model)).rejects.toMatchObject({ code: 'FORMAT' });
    const outside = join(folder, '../outside');
    await writeFile(outside, bytes);
    await rm(weights);
    await symlink(outside, weights);
    expect((await loadMedusaHeads(folder, model)).parameters.size).toBeGreaterThan(0);
    await rm(weights);
    await link(outside, weights);
    expect((await loadMedusaHeads(folder, model)).parameters.size).toBeGreaterThan(0);
  });

  it('with a key twice in the description are refused', async () => {
    await save();
    const file = join(folder, MEDUSA_FILE);
    await writeFile(file, (await readFile(file, 'utf8')).replace('{', '{"heads":1,'));
    await expect(loadMedusaHeads(folder, model)).rejects.toMatchObject({ code: 'FORMAT' });
  });
});
