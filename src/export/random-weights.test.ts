import { describe, expect, it } from 'vitest';
import { tinyLlama } from '../../test/models/tiny-llama.ts';
import { mixerPreset } from '../attention/presets.ts';
import { dataOf } from '../graph/tensor.ts';
import { publishedShape } from '../models/presets/presets.ts';
import { llamaModel } from '../models/families/decoder/variants.ts';
import { float32FromFloat16 } from '../checkpoint/safetensors/float-conversion.ts';
import { RandomWeights } from './random-weights.ts';

const model = tinyLlama([mixerPreset('augmented', { group: 8, kernel: 9 })]);
const wide = llamaModel({ ...publishedShape('tinyllama-1.1b'), num_hidden_layers: 1 });
const matrix = 'model.layers.0.mlp.down_proj.weight';

function deviation(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] ** 2;
  return Math.sqrt(sum / values.length);
}

describe('RandomWeights', () => {
  it('gives every parameter in its shape, the same for the same seed, in any order', async () => {
    const [first, second, other] = [7, 7, 8].map((seed) => new RandomWeights(model, seed));
    const names = [...model.parameters.keys()];
    const read = new Map<string, Float32Array>();
    for (const name of names) read.set(name, (await first.read(name)).data);
    for (const name of names.toReversed()) {
      const again = await second.read(name);
      expect(again.shape).toEqual(model.parameters.get(name)?.shape);
      expect(again.data).toEqual(read.get(name));
      expect(again.data.every(Number.isFinite)).toBe(true);
      expect(again.data.some((value) => value !== 0)).toBe(true);
    }
    expect((await other.read(matrix)).data).not.toEqual(read.get(matrix));
  });

  it('has one deviation for a matrix, however it is stored', async () => {
    const weights = new RandomWeights(wide, 1);
    const [outputs, inputs] = [2048, 5632];
    const expected = 1 / Math.sqrt(inputs);
    const part = async (name: string, dtype: 'uint8' | 'int8' | 'float16' | 'float32', shape: number[]) => {
      const made = await weights.part(`${matrix}.${name}`, { dtype, shape });
      if (made === undefined) throw new Error(`no part ${name}`);
      expect(made.shape).toEqual(shape);
      return made;
    };
    const near = (found: number): void => {
      expect(found / expected).toBeGreaterThan(0.7);
      expect(found / expected).toBeLessThan(1.42);
    };
    near(deviation((await weights.read(matrix)).data));
    near(deviation(float32FromFloat16(dataOf(await part('halves', 'float16', [outputs, inputs]), 'float16'))));
    const bytes = dataOf(await part('codes', 'int8', [inputs, outputs]), 'int8');
    expect(bytes.includes(-128)).toBe(false);
    const [byteScale] = dataOf(await part('scales', 'float32', [outputs]), 'float32');
    expect((deviation(bytes) * byteScale) / expected).toBeCloseTo(1, 2);
    const codes = dataOf(await part('codes', 'uint8', [outputs, inputs / 32, 16]), 'uint8');
    const [blockScale] = dataOf(await part('scales', 'float32', [outputs, inputs / 32, 1]), 'float32');
    for (const shift of [0, 4]) {
      const nibbles = Float32Array.from(codes, (byte) => ((byte >> shift) & 15) - 8);
      expect(nibbles.includes(-8)).toBe(false);
      expect(nibbles.reduce((sum, value) => sum + value, 0) / nibbles.length).toBeCloseTo(0, 2);
      expect((deviation(nibbles) * blockScale) / expected).toBeCloseTo(1, 1);
    }
  });

  it('refuses what the model does not have', async () => {
    await expect(new RandomWeights(model, 1).read('lm_head.bias')).rejects.toMatchObject({ code: 'TENSOR' });
  });
});
