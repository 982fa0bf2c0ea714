/** Small hybrids in MLX's order, made by loops over the original's tensors. */
import { z } from 'zod';
import type { JsonObject } from '../../src/files/json-object.ts';
import { goldenConfig } from '../parity/golden.ts';
import { quantizedModel, type RawTensor, type RawTensors } from './quantized-folder.ts';

const sizes = {
  hidden_size: 64,
  intermediate_size: 96,
  block_ff_dim: 96,
  shared_intermediate_size: 96,
  mamba_d_head: 16,
  mamba_d_ssm: 64,
};
const golden = (name: string): JsonObject => goldenConfig(name, z.record(z.string(), z.unknown()));
/** Only the sizes that the family has. */
function enlarged(config: JsonObject): JsonObject {
  return {
    ...config,
    ...Object.fromEntries(
      Object.entries({ ...sizes, vocab_size: 258, eos_token_id: 257 }).filter(([name]) => name in config),
    ),
  };
}

const rowsOf = ({ dtype, shape: [rows, ...rest], data }: RawTensor, half: 0 | 1): RawTensor => {
  const from = half * (data.length / 2);
  return { dtype, shape: [rows / 2, ...rest], data: data.slice(from, from + data.length / 2) };
};

/** Taps before the last axis of 1: the numbers' order is the same. */
function turnedFilter({ dtype, shape: [channels, , taps], data }: RawTensor): RawTensor {
  return { dtype, shape: [channels, taps, 1], data };
}

function mlxTensors(tensors: RawTensors, prefix: string, isCentred: boolean): RawTensors {
  const result: RawTensors = {};
  for (const [name, stored] of Object.entries(tensors)) {
    const own = stored.shape.length === 3 ? turnedFilter(stored) : stored;
    if (name.includes('.shared_mlp.input_linear.')) {
      result[name.replace('shared_mlp.input_linear', 'mlp.gate_proj')] = rowsOf(own, 0);
      result[name.replace('shared_mlp.input_linear', 'mlp.up_proj')] = rowsOf(own, 1);
    } else if (isCentred && own.shape.length === 1 && name.endsWith('norm.weight') && !name.includes('linear_attn')) {
      result[prefix + name] = { ...own, data: Float32Array.from([...own.data].map((value) => Number(value) + 1)) };
    } else result[prefix + name.replace('shared_mlp.output_linear', 'mlp.down_proj')] = own;
  }
  return result;
}

/** Configurations of families that MLX orders otherwise. */
const mlxConfigs: Readonly<Record<string, JsonObject>> = {
  LFM2: enlarged(golden('lfm2_mixed')),
  'Qwen3.5': enlarged(golden('qwen35_mix31')),
  'Granite 4 H': enlarged(golden('granite4h_mix')),
  'Falcon-H1': enlarged(golden('falconh1_nonorm')),
};

/** A model in four bits: `stored` and `tensors` as MLX writes them, `original` and `weights` as the original has them. */
export function mlxModel(name: string) {
  const made = quantizedModel('mlx, groups of 32', 1, mlxConfigs[name]);
  const original = Object.fromEntries(
    Object.entries(made.tensors).map(([tensor, stored]) => {
      const exact = Float32Array.from({ length: stored.data.length }, (_, i) => (i % 7) / 8); // with 1 too
      return [tensor, tensor.endsWith('norm.weight') ? { ...stored, data: exact } : stored];
    }),
  );
  const isQwen = name === 'Qwen3.5';
  const tensors = mlxTensors(original, isQwen ? 'language_model.' : '', isQwen);
  const { quantization_config, ...text } = made.config;
  const stored = isQwen
    ? { model_type: 'qwen3_5', text_config: text, tie_word_embeddings: true, quantization_config }
    : made.config;
  return { ...made, original, tensors, stored };
}
