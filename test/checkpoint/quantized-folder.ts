/** Small LLaMAs in four and eight bits with random codes, and their weights by plain loops over the definitions of the layouts. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { float16FromFloat32 } from '../../src/checkpoint/safetensors/float-conversion.ts';
import type { JsonObject } from '../../src/files/json-object.ts';
import { describeModel } from '../../src/models/families/index.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import type { CodedMatrix, CodedParts } from '../../src/checkpoint/weight-file.ts';
import { Random } from '../../src/random.ts';
import { tokenizerFileContents } from '../../src/tokenizer/byte-level.ts';
import { byteTokenizerFiles } from '../../src/tokenizer/bytes.ts';

export interface RawTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array | Uint16Array | Uint32Array | Int32Array | Float32Array | BigInt64Array;
}

export type RawTensors = Record<string, RawTensor>;

/** A file of safetensors with any types. */
export function safetensorsOf(tensors: Readonly<RawTensors>): Buffer {
  let end = 0;
  const entries = Object.entries(tensors).map(([name, { dtype, shape, data }]) => {
    const begin = end;
    end += data.byteLength;
    return [name, { dtype, shape, data_offsets: [begin, end] }];
  });
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const parts = Object.values(tensors).map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  return Buffer.concat([length, json, ...parts]);
}

interface Numbers {
  readonly N: number;
  readonly K: number;
  readonly bits: 4 | 8;
  /** Groups of inputs. */
  readonly G: number;
  readonly code: (n: number, k: number) => number;
  readonly zero: (n: number, g: number) => number;
  readonly scale: (n: number, g: number) => number;
}

/** Words [rows, columns] of several codes: `place` says of a code its row, column and place in the word. */
function words(
  [rows, columns]: readonly [number, number],
  bits: number,
  codes: Iterable<readonly [row: number, column: number, place: number, code: number]>,
): RawTensor {
  const data = new Uint32Array(rows * columns);
  for (const [row, column, place, code] of codes) data[row * columns + column] += code * 2 ** (bits * place);
  return { dtype: 'I32', shape: [rows, columns], data };
}

function halves(shape: readonly [number, number], value: (row: number, column: number) => number): RawTensor {
  const [rows, columns] = shape;
  const numbers = Float32Array.from({ length: rows * columns }, (_, i) => value(Math.floor(i / columns), i % columns));
  return { dtype: 'F16', shape, data: float16FromFloat32(numbers) };
}

function* grid(rows: number, columns: number): Generator<readonly [number, number]> {
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) yield [r, c];
}

function* mapped<T>(pairs: Iterable<readonly [number, number]>, to: (a: number, b: number) => T): Generator<T> {
  for (const [a, b] of pairs) yield to(a, b);
}

const awqPlaces = [0, 4, 1, 5, 2, 6, 3, 7];

/** How a module is stored, and the scheme's numbers. */
interface Kind {
  readonly bits?: 4 | 8;
  /** Inputs of a scale. Default: all. */
  readonly group?: number;
  readonly hasZeros?: boolean;
  /** Whether inputs of a group are apart. */
  readonly scattered?: boolean;
  readonly config: Readonly<Record<string, unknown>>;
  /** Default: (code − zero) · scale. */
  readonly weight?: (numbers: Numbers, n: number, k: number, g: number) => number;
  readonly store: (numbers: Numbers, groups: Int32Array) => RawTensors;
}

const compressedWeights = { num_bits: 4, type: 'int', symmetric: true, strategy: 'group', group_size: 32 };
function compressed(fields: object, format = 'pack-quantized'): Readonly<Record<string, unknown>> {
  const weights = { ...compressedWeights, ...fields };
  return { quant_method: 'compressed-tensors', format, config_groups: { group_0: { targets: ['Linear'], weights } } };
}

function packedTensors(numbers: Numbers, hasZeros: boolean): RawTensors {
  const { N, K, G, bits, code, zero, scale } = numbers;
  const each = 32 / bits;
  return {
    weight_packed: words(
      [N, K / each],
      bits,
      mapped(grid(N, K), (n, k) => [n, Math.floor(k / each), k % each, code(n, k)]),
    ),
    weight_scale: halves([N, G], scale),
    weight_shape: { dtype: 'I64', shape: [2], data: BigInt64Array.of(BigInt(N), BigInt(K)) },
    ...(hasZeros && {
      weight_zero_point: words(
        [N / each, G],
        bits,
        mapped(grid(N, G), (n, g) => [Math.floor(n / each), g, n % each, zero(n, g)]),
      ),
    }),
  };
}

function gptqTensors({ N, K, G, bits, code, zero, scale }: Numbers, groups: Int32Array, shift: number): RawTensors {
  const each = 32 / bits;
  return {
    qweight: words(
      [K / each, N],
      bits,
      mapped(grid(N, K), (n, k) => [Math.floor(k / each), n, k % each, code(n, k)]),
    ),
    qzeros: words(
      [G, N / each],
      bits,
      mapped(grid(N, G), (n, g) => [g, Math.floor(n / each), n % each, zero(n, g) - shift]),
    ),
    scales: halves([G, N], (g, n) => scale(n, g)),
    g_idx: { dtype: 'I32', shape: [K], data: groups },
  };
}

function mlxTensors({ N, K, G, bits, code, zero, scale }: Numbers): RawTensors {
  const each = 32 / bits;
  const packed = words(
    [N, K / each],
    bits,
    mapped(grid(N, K), (n, k) => [n, Math.floor(k / each), k % each, code(n, k)]),
  );
  return {
    weight: { ...packed, dtype: 'U32' },
    scales: halves([N, G], scale),
    biases: halves([N, G], (n, g) => -zero(n, g) / 64),
  };
}

/** Weights of codes, by the definition of their parts. */
export function weightsOfCodes({ form, outputs, inputs }: CodedMatrix, parts: CodedParts): Float32Array {
  const { bits, size, minima, zeros = false } = form;
  const blocks = inputs / size;
  const codeAt = (packed: Uint8Array, width: number, row: number, i: number): number =>
    bits === 8
      ? packed[row * width + i]
      : (packed[row * Math.ceil(width / 2) + Math.floor(i / 2)] >> (4 * (i % 2))) & 15;
  const weights = new Float32Array(outputs * inputs);
  for (let n = 0; n < outputs; n++) {
    for (let i = 0; i < inputs; i++) {
      const block = n * blocks + Math.floor(i / size);
      const code = codeAt(parts.codes, inputs, n, i);
      const zero = zeros && parts.zeros ? codeAt(parts.zeros, blocks, n, Math.floor(i / size)) : 2 ** (bits - 1);
      const scale = parts.scales[block];
      const at = n * inputs + (parts.order?.[i] ?? i);
      weights[at] = minima ? code * scale - (parts.minima?.[block] ?? Number.NaN) : (code - zero) * scale;
    }
  }
  return weights;
}

/** A value of E4M3 by its definition. */
function float8(code: number): number {
  const [exponent, fraction] = [(code >> 3) & 15, code & 7];
  const size = exponent === 0 ? fraction / 512 : 2 ** (exponent - 7) * (1 + fraction / 8);
  return code >= 128 ? -size : size;
}

function float8Code({ code }: Numbers, n: number, k: number): number {
  return (code(n, k) & 127) === 127 ? 1 : code(n, k);
}

function float8Tensor(numbers: Numbers): RawTensor {
  const { N, K } = numbers;
  const data = Uint8Array.from(mapped(grid(N, K), (n, k) => float8Code(numbers, n, k)));
  return { dtype: 'F8_E4M3', shape: [N, K], data };
}

const float8Block = 96;
const gptq = { quant_method: 'gptq', bits: 4, sym: true, desc_act: false };

/** By name. */
export const quantizedKinds: Readonly<Record<string, Kind>> = {
  'compressed-tensors int4, groups of 32': {
    group: 32,
    config: compressed({}),
    store: (numbers) => packedTensors(numbers, false),
  },
  'compressed-tensors int4, groups of 64 with zero points': {
    group: 64,
    hasZeros: true,
    config: compressed({ group_size: 64, symmetric: false }),
    store: (numbers) => packedTensors(numbers, true),
  },
  'compressed-tensors int4, channels': {
    config: compressed({ strategy: 'channel', group_size: null }),
    store: (numbers) => packedTensors(numbers, false),
  },
  'compressed-tensors int4, groups of 32, inputs apart': {
    group: 32,
    scattered: true,
    config: compressed({ actorder: 'group' }),
    store: (numbers, groups) => ({
      ...packedTensors(numbers, false),
      weight_g_idx: { dtype: 'I32', shape: [numbers.K], data: groups },
    }),
  },
  'compressed-tensors int8, groups of 128': {
    ...{ bits: 8, group: 128, config: compressed({ num_bits: 8, group_size: 128 }) },
    store: (numbers) => packedTensors(numbers, false),
  },
  'compressed-tensors int8, channels, a byte each': {
    bits: 8,
    config: compressed({ num_bits: 8, strategy: 'channel' }, 'int-quantized'),
    store: (numbers) => ({
      weight: {
        ...{ dtype: 'I8', shape: [numbers.N, numbers.K] },
        data: Uint8Array.from(mapped(grid(numbers.N, numbers.K), (n, k) => numbers.code(n, k) ^ 128)),
      },
      weight_scale: halves([numbers.N, 1], numbers.scale),
    }),
  },
  'compressed-tensors float8, channels': {
    bits: 8,
    config: compressed({ num_bits: 8, type: 'float', strategy: 'channel' }, 'float-quantized'),
    weight: (numbers, n, k) => float8(float8Code(numbers, n, k)) * numbers.scale(n, 0),
    store: (numbers) => ({ weight: float8Tensor(numbers), weight_scale: halves([numbers.N, 1], numbers.scale) }),
  },
  'fp8, blocks': {
    bits: 8,
    config: { quant_method: 'fp8', fmt: 'e4m3', weight_block_size: [float8Block, float8Block] },
    weight: (numbers, n, k) =>
      float8(float8Code(numbers, n, k)) * numbers.scale(Math.floor(n / float8Block), Math.floor(k / float8Block)),
    store: (numbers) => ({
      weight: float8Tensor(numbers),
      weight_scale_inv: halves([Math.ceil(numbers.N / float8Block), Math.ceil(numbers.K / float8Block)], numbers.scale),
    }),
  },
  'gptq, groups of 32': {
    ...{ group: 32, hasZeros: true, config: { ...gptq, group_size: 32 } },
    store: (numbers, groups) => gptqTensors(numbers, groups, 1),
  },
  'gptq, channels': {
    ...{ hasZeros: true, config: { ...gptq, group_size: -1, desc_act: true } },
    store: (numbers, groups) => gptqTensors(numbers, groups, 1),
  },
  'gptq, eight bits, groups of 64': {
    ...{ bits: 8, group: 64, hasZeros: true, config: { ...gptq, bits: 8, group_size: 64 } },
    store: (numbers, groups) => gptqTensors(numbers, groups, 1),
  },
  'gptq_v2, groups of 32, inputs apart': {
    ...{ group: 32, hasZeros: true, scattered: true },
    config: { ...gptq, group_size: 32, desc_act: true, checkpoint_format: 'gptq_v2' },
    store: (numbers, groups) => gptqTensors(numbers, groups, 0),
  },
  'awq, groups of 64': {
    ...{ group: 64, hasZeros: true },
    config: { quant_method: 'awq', bits: 4, group_size: 64, zero_point: true, version: 'gemm' },
    store: ({ N, K, G, code, zero, scale }) => ({
      qweight: words(
        [K, N / 8],
        4,
        mapped(grid(N, K), (n, k) => [k, n >> 3, awqPlaces[n & 7], code(n, k)]),
      ),
      qzeros: words(
        [G, N / 8],
        4,
        mapped(grid(N, G), (n, g) => [g, n >> 3, awqPlaces[n & 7], zero(n, g)]),
      ),
      scales: halves([G, N], (g, n) => scale(n, g)),
    }),
  },
  'mlx, groups of 32': {
    ...{ group: 32, hasZeros: true, config: { group_size: 32, bits: 4 }, store: mlxTensors },
    weight: ({ code, zero, scale }, n, k, g) => code(n, k) * scale(n, g) - zero(n, g) / 64,
  },
  'mlx, eight bits, groups of 64': {
    ...{ bits: 8, group: 64, hasZeros: true, config: { group_size: 64, bits: 8, mode: 'affine' }, store: mlxTensors },
    weight: ({ code, zero, scale }, n, k, g) => code(n, k) * scale(n, g) - zero(n, g) / 64,
  },
};

const quantizedModelConfig = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  vocab_size: 258,
  hidden_size: 128,
  intermediate_size: 256,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  tie_word_embeddings: true,
  bos_token_id: 256,
  eos_token_id: 257,
};

const models = new Map<string, ReturnType<typeof makeModel>>();

/** A model of a kind: its config.json, its tensors, and the weights of its quantized matrices; a copy of one that is made once. */
export function quantizedModel(
  name: string,
  seed = 1,
  config: JsonObject = quantizedModelConfig,
): ReturnType<typeof makeModel> {
  const key = `${name} ${seed} ${String(config.model_type)}`;
  const model = models.get(key) ?? makeModel(name, seed, config);
  models.set(key, model);
  return structuredClone(model);
}

function makeModel(name: string, seed: number, modelConfig: JsonObject) {
  const { bits = 4, group, hasZeros = false, scattered = false, config, weight, store } = quantizedKinds[name];
  const model = describeModel(modelConfig);
  const random = new Random(seed);
  const tensors: RawTensors = {};
  const weights = new Map<string, Float32Array>();
  for (const [parameter, { shape, data }] of initializeParameters(model, new Random(seed))) {
    const module = /^(model\.layers\..*)\.weight$/.exec(parameter)?.[1];
    if (module === undefined || shape.length !== 2) {
      tensors[parameter] = { dtype: 'F32', shape, data };
      continue;
    }
    const [N, K] = shape;
    const G = K / (group ?? K);
    const draw = (count: number, below: number): Int32Array =>
      Int32Array.from({ length: count }, () => Math.floor(random.uniform() * below));
    const [codes, drawnZeros, drawnScales] = [draw(N * K, 2 ** bits), draw(N * G, 2 ** bits - 1), draw(N * G, 64)];
    const numbers: Numbers = {
      ...{ N, K, G, bits },
      code: (n, k) => codes[n * K + k],
      zero: (n, g) => (hasZeros ? 1 + drawnZeros[n * G + g] : 2 ** (bits - 1)),
      scale: (n, g) => (16 + drawnScales[n * G + g]) / 2 ** (bits + 9),
    };
    const step = scattered ? 5 : 1; // prime to K
    const groups = Int32Array.from({ length: K }, (_, k) => Math.floor(((k * step) % K) / (K / G)));
    const values = new Float32Array(N * K);
    for (const [n, k] of grid(N, K)) {
      const g = groups[k];
      values[n * K + k] = weight?.(numbers, n, k, g) ?? (numbers.code(n, k) - numbers.zero(n, g)) * numbers.scale(n, g);
    }
    weights.set(parameter, values);
    for (const [part, tensor] of Object.entries(store(numbers, groups))) tensors[`${module}.${part}`] = tensor;
  }
  return { config: { ...modelConfig, quantization_config: config }, tensors, weights };
}

/** Writes a model with a byte tokenizer. */
export async function saveQuantized(
  folder: string,
  { config, tensors }: { readonly config: object; readonly tensors: Readonly<RawTensors> },
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeFile(join(folder, 'model.safetensors'), safetensorsOf(tensors));
  for (const [name, text] of tokenizerFileContents(byteTokenizerFiles())) {
    await writeFile(join(folder, name), text);
  }
}
