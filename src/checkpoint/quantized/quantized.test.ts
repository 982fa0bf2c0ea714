/** Folders in four and eight bits: weights and codes against plain loops, what is refused, published configurations. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  quantizedKinds,
  quantizedModel,
  type RawTensor,
  type RawTensors,
  saveQuantized,
  weightsOfCodes,
} from '../../../test/checkpoint/quantized-folder.ts';
import { present, thirdParty } from '../../../test/fixtures.ts';
import { suiteFolder } from '../../../test/scratch-folder.ts';
import { openModelWeights } from '../load-model.ts';
import { quantizationOf } from './config.ts';

const place = suiteFolder();

describe.each(Object.keys(quantizedKinds))('%s', (kind) => {
  it('has the weights of loops over its layout, decoded and in codes', async () => {
    const made = quantizedModel(kind);
    const folder = join(place, kind);
    await saveQuantized(folder, made);
    await using opened = await openModelWeights(folder);
    expect(made.weights.size).toBe(7);
    for (const [name, expected] of made.weights) {
      expect((await opened.read(name)).data, name).toEqual(expected);
      const coded = opened.codes(name);
      expect(coded === undefined, name).toBe(/float8|fp8/.test(kind));
      if (coded === undefined) continue;
      for await (const parts of coded.pieces()) expect(weightsOfCodes(coded, parts), name).toEqual(expected);
    }
    expect(await opened.fingerprint()).toMatch(/^[0-9a-f]{64}$/);
  });
});

/** A model of a kind with other tensors or another configuration. */
async function changed(
  kind: string,
  change: (tensors: RawTensors) => RawTensors,
  config: object = {},
): Promise<string> {
  const made = quantizedModel(kind);
  const folder = join(place, `changed-${Math.random()}`);
  const stored = { ...made.config, quantization_config: { ...made.config.quantization_config, ...config } };
  await saveQuantized(folder, { config: stored, tensors: change(made.tensors) });
  return folder;
}

const module = 'model.layers.0.mlp.down_proj';
const cut = ({ dtype, shape, data }: RawTensor, by: readonly number[]): RawTensor => {
  const smaller = shape.map((size, i) => size - (by[i] ?? 0));
  return {
    dtype,
    shape: smaller,
    data: data.slice(
      0,
      smaller.reduce((product, size) => product * size, 1),
    ),
  };
};
function bytesOf({ data }: RawTensor): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

const same = (tensors: RawTensors): RawTensors => tensors;
const gptq = 'gptq, groups of 32';
const packed = 'compressed-tensors int4, groups of 64 with zero points';

/** An error of a code whose message says what to take instead. */
function refusal(code: string, message: RegExp): unknown {
  return expect.objectContaining({
    code,
    message: expect.stringMatching(new RegExp(`${message.source}.*take its GGUF`)) as unknown,
  });
}

describe('refused, with what to take instead', () => {
  it.each<[string, string, (tensors: RawTensors) => RawTensors, RegExp]>([
    [
      'scales of fewer outputs',
      packed,
      (t) => ({ ...t, [`${module}.weight_scale`]: cut(t[`${module}.weight_scale`], [1, 0]) }),
      /scales for 127 of 128/,
    ],
    [
      'groups that do not divide',
      packed,
      (t) => ({ ...t, [`${module}.weight_scale`]: cut(t[`${module}.weight_scale`], [0, 1]) }),
      /3 groups do not divide 256/,
    ],
    [
      'zero points of another shape',
      packed,
      (t) => ({ ...t, [`${module}.weight_zero_point`]: cut(t[`${module}.weight_zero_point`], [1, 0]) }),
      /expected I32 or U32 \[16,4\]/,
    ],
    [
      'another shape',
      packed,
      (t) => ({ ...t, [`${module}.weight_shape`]: { dtype: 'I64', shape: [2], data: BigInt64Array.of(128n, 512n) } }),
      /cannot be read/,
    ],
    [
      'codes of floats',
      packed,
      (t) => ({ ...t, [`${module}.weight_packed`]: { dtype: 'F32', shape: [1, 1], data: new Float32Array(1) } }),
      /its codes are F32/,
    ],
    ['absent zero points', gptq, ({ [`${module}.qzeros`]: _, ...t }) => t, /cannot be read/],
    [
      'fewer outputs in codes',
      'awq, groups of 64',
      (t) => ({ ...t, [`${module}.qweight`]: cut(t[`${module}.qweight`], [0, 1]) }),
      /scales for 128 of 120 outputs/,
    ],
    [
      'a group of no input',
      'awq, groups of 64',
      (t) => ({ ...t, [`${module}.scales`]: cut(t[`${module}.scales`], [4, 0]) }),
      /groups do not divide/,
    ],
    [
      'three bits of MLX',
      'mlx, groups of 32',
      (t) => ({ ...t, [`${module}.weight`]: cut(t[`${module}.weight`], [0, 8]) }),
      /no codes of 4 or 8 bits/,
    ],
    [
      'scales of other blocks',
      'fp8, blocks',
      (t) => ({ ...t, [`${module}.weight_scale_inv`]: { dtype: 'F32', shape: [2, 2], data: new Float32Array(4) } }),
      /do not fit/,
    ],
  ])('%s', async (_, kind, change, message) => {
    const folder = await changed(kind, change);
    await expect(openModelWeights(folder)).rejects.toThrow(refusal('TENSOR', message));
  });

  it.each<[string, string, (tensors: RawTensors) => RawTensors, RegExp]>([
    [
      'a zero point that no code has',
      gptq,
      (t) => {
        bytesOf(t[`${module}.qzeros`]).fill(255);
        return t;
      },
      /zero point is 16.*gptq_v2/,
    ],
    [
      'inputs apart that the configuration denies',
      gptq,
      (t) => {
        new Int32Array(bytesOf(t[`${module}.g_idx`]).buffer).reverse();
        return t;
      },
      /desc_act/,
    ],
    [
      'groups of several sizes',
      'gptq_v2, groups of 32, inputs apart',
      (t) => {
        new Int32Array(bytesOf(t[`${module}.g_idx`]).buffer).set([0, 0, 0, 0], 60);
        return t;
      },
      /differ in size/,
    ],
    [
      'scales that are no numbers',
      gptq,
      (t) => {
        bytesOf(t[`${module}.scales`]).set([0, 0x7c]);
        return t;
      },
      /finite weights/,
    ],
  ])('%s, when it is read', async (_, kind, change, message) => {
    await using opened = await openModelWeights(await changed(kind, change));
    await expect(opened.read(`${module}.weight`)).rejects.toThrow(message);
  });

  it('leaves out biases of a GPTQ folder that are zero, and refuses others', async () => {
    const biased = (value: number) =>
      changed(gptq, (t) => ({
        ...t,
        [`${module}.bias`]: { dtype: 'F32', shape: [128], data: new Float32Array(128).fill(value) },
      }));
    await using opened = await openModelWeights(await biased(0));
    expect(opened.names).not.toContain(`${module}.bias`);
    await expect(openModelWeights(await biased(1))).rejects.toThrow(/surplus: "?model.layers.0.mlp.down_proj.bias/);
  });

  it('notices numbers that are not finite in one pass over the bytes', async () => {
    const folder = await changed('compressed-tensors float8, channels', (t) => {
      bytesOf(t[`${module}.weight`]).fill(0x7f, 5, 6);
      return t;
    });
    await using opened = await openModelWeights(folder);
    await expect(opened.fingerprint()).rejects.toMatchObject({ code: 'TENSOR' });
  });

  it.each<[string, object, RegExp]>([
    [packed, { format: 'nvfp4-pack-quantized' }, /quantization_config.format/],
    [packed, { sparsity_config: { format: 'sparse-24-bitmask' } }, /sparsity_config/],
    [packed, { transform_config: { config_groups: { u: {} } } }, /transform_config/],
    [gptq, { bits: 3 }, /quantization_config.bits/],
    [gptq, { checkpoint_format: 'marlin' }, /checkpoint_format/],
    ['awq, groups of 64', { version: 'gemv' }, /not the code order/],
    ['mlx, groups of 32', { mode: 'nvfp4' }, /quantization_config.mode/],
    ['fp8, blocks', { fmt: 'e5m2' }, /quantization_config.fmt/],
  ])('%s with %j', async (kind, config, message) => {
    const folder = await changed(kind, same, config);
    await expect(openModelWeights(folder)).rejects.toThrow(refusal('CONFIG', message));
  });

  it('is a configuration without its parts', async () => {
    const folder = await changed(gptq, same, { quant_method: 'awq', version: 'gemm' });
    await expect(openModelWeights(folder)).rejects.toThrow(/surplus|twice|cannot be read/);
    const none = await changed('compressed-tensors int4, groups of 32', same, { ...quantizedKinds[gptq].config });
    await expect(openModelWeights(none)).rejects.toThrow(/no matrix has its parts/);
  });
});

const published = thirdParty('published');

describe.skipIf(published === undefined)('published configurations (shared/fixtures/published)', () => {
  const config = (path: string): Record<string, unknown> =>
    JSON.parse(readFileSync(join(present(published), path, 'config.json'), 'utf8')) as Record<string, unknown>;
  it.each([
    ['llama/Wizard-Vicuna-30B-GPTQ', { method: 'gptq', zeroShift: 1, ordered: true }],
    ['llama/Llama-2-13B-chat-GPTQ', { method: 'gptq', zeroShift: 1, ordered: false }],
    ['qwen2/Qwen-VL-Chat-Int4-GPTQ', { method: 'gptq', zeroShift: 1, ordered: false }],
    ['qwen3/Qwen3-14B-MLX-4bit', { method: 'mlx' }],
    ['mistral/Mistral3-quantized', { method: 'mlx' }],
    ['granitemoehybrid/granite-4.0-h-350m-from-test', { method: 'mlx' }],
  ])('of %s is read', (path, expected) => {
    expect(quantizationOf(config(path), path)).toMatchObject(expected);
  });

  it('of modules with their own groups is read, and bitsandbytes is none of them', () => {
    const mixed = quantizationOf(config('qwen3_5/Qwen3.8-27B-mlx-mtplx'), 'mlx');
    expect([mixed?.groupOf('model.layers.0.mlp.up_proj'), mixed?.groupOf('language_model.lm_head')]).toEqual([32, 64]);
    expect(() => quantizationOf(config('llama/TinyLlama-lora-adapter-2'), 'x')).toThrow(/bitsandbytes; known are/);
  });

  it('of compressed-tensors are read', () => {
    const blocks = JSON.parse(readFileSync(join(present(published), 'quantization-blocks.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    const whole = Object.values(blocks).filter(
      (block) => typeof block === 'object' && 'format' in Object(block) && 'config_groups' in Object(block),
    );
    expect(whole).toHaveLength(2);
    for (const block of whole) {
      expect(quantizationOf({ quantization_config: block }, 'x')).toMatchObject({
        method: 'compressed-tensors',
        zeroShift: 0,
      });
    }
  });
});
