/** Folders in MLX's order, written by loops over the original's tensors, against the original. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { mlxModel } from '../../test/checkpoint/mlx-folder.ts';
import { type RawTensor, saveQuantized, weightsOfCodes } from '../../test/checkpoint/quantized-folder.ts';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { openModelWeights } from './load-model.ts';

const place = suiteFolder();

describe.each(['LFM2', 'Qwen3.5', 'Granite 4 H'])('%s', (name) => {
  it('has the original weights, and codes of every matrix', async () => {
    const { tensors, stored, weights, original } = mlxModel(name);
    const folder = join(place, name);
    await saveQuantized(folder, { config: stored, tensors });
    await using opened = await openModelWeights(folder);
    expect(opened.names.length).toBeGreaterThan(20);
    for (const parameter of opened.names) {
      const own = parameter.replace('model.language_model', 'model');
      const expected = weights.get(own) ?? original[own].data;
      const { data, shape } = await opened.read(parameter);
      expect([...data], parameter).toEqual([...expected].map(Number));
      expect(shape).toEqual(opened.model.parameters.get(parameter)?.shape);
      const rows: number[] = [];
      for await (const piece of opened.rows(parameter).pieces) rows.push(...piece);
      expect(rows, parameter).toEqual([...data]);
      const coded = opened.codes(parameter);
      expect(coded !== undefined, parameter).toBe(weights.has(own) && shape[1] % 32 === 0);
      if (coded === undefined) continue;
      const values: number[] = [];
      for await (const parts of coded.pieces()) {
        const outputs = parts.scales.length / (coded.inputs / coded.form.size);
        values.push(...weightsOfCodes({ ...coded, outputs }, parts));
      }
      expect(values, parameter).toEqual([...data]);
    }
    expect(await opened.fingerprint()).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe('refused', () => {
  it('Falcon-H1, whose multipliers are in the weights too', async () => {
    const folder = join(place, 'falcon');
    const { stored, tensors } = mlxModel('Falcon-H1');
    await saveQuantized(folder, { config: stored, tensors });
    const refusal = { code: 'CONFIG', message: expect.stringContaining('take the original model') as unknown };
    await expect(openModelWeights(folder)).rejects.toThrow(expect.objectContaining(refusal));
  });

  it('parts of one matrix with other inputs', async () => {
    const { tensors, stored } = mlxModel('Granite 4 H');
    const name = Object.keys(tensors).find((one) => one.endsWith('mlp.up_proj.weight')) ?? '';
    const folder = join(place, 'parts');
    const [rows, columns] = tensors[name].shape;
    const module = name.replace('.weight', '');
    const halved = ({ dtype, data }: RawTensor, width: number): RawTensor => ({
      dtype,
      shape: [rows, width],
      data: data.slice(0, rows * width),
    });
    await saveQuantized(folder, {
      config: stored,
      tensors: {
        ...tensors,
        [name]: halved(tensors[name], columns / 2),
        [`${module}.scales`]: halved(tensors[`${module}.scales`], 1),
        [`${module}.biases`]: halved(tensors[`${module}.biases`], 1),
      },
    });
    await expect(openModelWeights(folder)).rejects.toThrow(
      /input_linear.weight" are mlx-4 \[96,64\] and mlx-4 \[96,32\]/,
    );
  });
});
