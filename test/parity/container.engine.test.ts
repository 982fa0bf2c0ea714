/** Qwen3 in the container of Qwen3.5 (test/golden: qwen3_in_qwen35): the same names, shapes and logits. */
import { expect, it } from 'vitest';
import { z } from 'zod';
import { intoQwen35 } from '../../src/conversion/container.ts';
import type { Weighted } from '../../src/conversion/stages.ts';
import { float32, type Tensor } from '../../src/graph/tensor.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { goldenConfig, goldenNumbers, goldenTensor, readGolden, relativeToPeak } from './golden.ts';
import { runGolden } from './golden-model.ts';

const name = 'qwen3_in_qwen35';
const original: Weighted<Tensor<'float32'>> = {
  model: describeCausalModel(goldenConfig(name, z.record(z.string(), z.unknown()), 'qwen3_config.json')),
  parameters: new Map(
    [...readGolden(name, 'qwen3_weights.safetensors')].map(([key, { shape, data }]) => [
      key,
      float32(shape, Float32Array.from(data)),
    ]),
  ),
};

it('has the names, shapes and weights of the container, and logits of the original', async () => {
  const { model, parameters } = intoQwen35(original, [0, 1]);
  const expected = readGolden(name, 'weights.safetensors');
  expect([...parameters.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [key, { shape, data }] of expected) {
    expect(parameters.get(key)).toEqual(float32(shape, Float32Array.from(data)));
  }
  const io = readGolden(name);
  for (const n of [1, 22, 70]) {
    const { logits } = await runGolden(model, parameters, goldenTensor(io, `n${n}.input_ids`));
    expect(relativeToPeak(logits, goldenNumbers(io, `n${n}.qwen3.logits`)), `n = ${n}`).toBeLessThan(1e-5);
  }
});

it('writes layers that are not kept as Gated DeltaNet, from the projections of attention', () => {
  const { model, parameters } = intoQwen35(original, [1]);
  expect(model.mixers.map(({ kind }) => kind)).toEqual(['delta-net', 'softmax']);
  expect([...parameters.keys()]).toEqual([...model.parameters.keys()]);
  for (const [key, { shape }] of model.parameters) expect(parameters.get(key)?.shape, key).toEqual(shape);
  expect(parameters.get('model.layers.0.linear_attn.out_proj.weight')?.data).toEqual(
    original.parameters.get('model.layers.0.self_attn.o_proj.weight')?.data,
  );
});

it.each(['rope_type', 'type'])('keeps positions that are scaled, which %s names', (field) => {
  const json = {
    ...original.model.toJson(),
    rope_scaling: { [field]: 'linear', factor: 2 },
    rope_parameters: undefined,
  };
  const scaled = describeCausalModel(json);
  const { model } = intoQwen35({ model: scaled, parameters: original.parameters }, [0, 1]);
  expect(model.toJson().rope_parameters).toMatchObject({ rope_type: 'linear', factor: 2 });
});

it('takes no model but Qwen3 with its own attention', () => {
  const { model, parameters } = intoQwen35(original, [0, 1]);
  expect(() => intoQwen35({ model, parameters }, [])).toThrow('takes Qwen3 with its own attention');
});
