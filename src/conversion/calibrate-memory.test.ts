/** The memory that calibration by layers is said to take, against GNU time's peaks of `linearize --init calibrate` in float16. */
import { expect, it } from 'vitest';
import { describeCausalModel } from '../models/families/index.ts';
import { publishedShape } from '../models/presets/presets.ts';
import { calibrationMemory } from './calibrate.ts';
import { calibrated } from './texts.ts';

const widths3 = { num_hidden_layers: 26, hidden_size: 3200, intermediate_size: 8640, max_position_embeddings: 2048 };

it.each([
  ['qwen2.5-0.5b', {}, 522],
  ['tinyllama-1.1b', {}, 481],
  ['llama-2-7b', widths3, 863],
  ['llama-2-7b', { num_hidden_layers: 3 }, 1094],
])('of %s with %o is within a quarter of %d MiB', (shape, changes, peak) => {
  const model = describeCausalModel({ ...publishedShape(shape), ...changes });
  const readInto = (): never => {
    throw new Error('an estimate reads no weights');
  };
  const weights = new Map(
    [...model.parameters].map(([name, { shape }]) => [name, { dtype: 'float16' as const, shape, readInto }]),
  );
  const { layers } = calibrationMemory(model, calibrated, weights);
  expect(layers / 2 ** 20 / peak).toBeGreaterThan(0.8);
  expect(layers / 2 ** 20 / peak).toBeLessThan(1.25);
});
