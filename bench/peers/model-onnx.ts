/**
 * A LLaMA or LFM2 of a published shape with random int4 weights, as a folder for transformers.js: the operators and
 * names of the published models (`GroupQueryAttention` over a key-value cache, `MatMulNBits`, and the last
 * columns of every short convolution as `past_conv`).
 */
import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { OnnxAttributes, OnnxDomain, OnnxGraph, OnnxNode, OnnxValue } from '../../src/graph/onnx/model.ts';
import { encodeModel, oneFile } from '../../src/graph/onnx/writer.ts';
import { type Tensor, tensor } from '../../src/graph/tensor.ts';
import { describeModel } from '../../src/models/index.ts';
import { RandomBytes } from './random-blocks.ts';

type Shape = Readonly<Record<string, unknown>>;

/** Number of positions in the rotary tables. */
const longestText = 8192;
const blockSize = 32;

class Model {
  readonly nodes: OnnxNode[] = [];
  readonly initializers: { name: string; tensor: Tensor }[] = [];
  readonly #random = new RandomBytes(1);
  #names = 0;

  node(opType: string, inputs: readonly string[], attributes: OnnxAttributes = {}, domain: OnnxDomain = ''): string {
    const output = `t${this.#names++}`;
    this.nodes.push({ opType, domain, inputs, outputs: [output], attributes });
    return output;
  }

  weight(value: Tensor): string {
    const name = `w${this.#names++}`;
    this.initializers.push({ name, tensor: value });
    return name;
  }

  int64(...values: number[]): string {
    return this.weight(tensor('int64', [values.length], BigInt64Array.from(values, BigInt)));
  }

  /** x Wᵀ with int4 weights; activations round to int8 as in published models. */
  product(x: string, inputs: number, outputs: number): string {
    const blocks = inputs / blockSize;
    const packed = new Uint32Array((outputs * inputs) / 8);
    this.#random.fill(packed);
    const scale = 1 / Math.sqrt(inputs) / Math.sqrt((16 * 16 - 1) / 12);
    return this.node(
      'MatMulNBits',
      [
        x,
        this.weight(tensor('uint8', [outputs, blocks, blockSize / 2], new Uint8Array(packed.buffer))),
        this.weight(
          tensor(
            'float32',
            [outputs * blocks],
            Float32Array.from({ length: outputs * blocks }, (_, i) => (i % 2 ? -scale : scale)),
          ),
        ),
      ],
      {
        K: { int: inputs },
        N: { int: outputs },
        bits: { int: 4 },
        block_size: { int: blockSize },
        accuracy_level: { int: 4 },
      },
      'com.microsoft',
    );
  }

  norm(x: string, width: number, epsilon: number): string {
    const ones = this.weight(tensor('float32', [width], new Float32Array(width).fill(1)));
    return this.node('SimplifiedLayerNormalization', [x, ones], { axis: { int: -1 }, epsilon: { float: epsilon } });
  }

  embedding(tokens: string, vocabulary: number, width: number): string {
    const bits = new Uint32Array(vocabulary * width);
    this.#random.fill(bits);
    const table = Float32Array.from(bits, (word) => word / 2 ** 32 - 0.5);
    return this.node('Gather', [this.weight(tensor('float32', [vocabulary, width], table)), tokens]);
  }
}

/** The shape's sizes in the graph. */
function sizesOf(shape: Shape) {
  const { parameters, sizes } = describeModel(shape);
  const isLfm2 = shape.model_type === 'lfm2';
  if (!isLfm2 && shape.model_type !== 'llama')
    throw new Error(`${String(shape.model_type)} is not written for transformers.js`);
  const inner = parameters.get(`model.layers.0.${isLfm2 ? 'feed_forward.w1' : 'mlp.gate_proj'}.weight`)?.shape[0];
  const layerTypes = Array.from({ length: sizes.layers }, (_, layer) =>
    parameters.has(`model.layers.${layer}.self_attn.q_proj.weight`) ? 'full_attention' : 'conv',
  );
  const epsilon = Number(isLfm2 ? shape.norm_eps : shape.rms_norm_eps);
  return {
    ...{ width: sizes.width, H: sizes.heads, M: sizes.keyValueHeads, V: sizes.vocabulary, D: sizes.headWidth },
    ...{ F: Number(inner), epsilon, layerTypes, hasHeadNorms: isLfm2, kernel: Number(shape.conv_L_cache ?? 0) },
  };
}

type Sizes = ReturnType<typeof sizesOf>;

function graph(sizes: Sizes, rotaryBase: number): OnnxGraph {
  const { width, V, D, F, epsilon } = sizes;
  const model = new Model();
  const inputs: OnnxValue[] = [
    { name: 'input_ids', dtype: 'int64', shape: ['batch_size', 'sequence_length'] },
    { name: 'attention_mask', dtype: 'int64', shape: ['batch_size', 'total_sequence_length'] },
    { name: 'num_logits_to_keep', dtype: 'int64', shape: [] },
  ];
  const outputs: OnnxValue[] = [{ name: 'logits', dtype: 'float32', shape: ['batch_size', 'kept', V] }];
  const tables = rotaryTables(D, rotaryBase).map((table) => model.weight(table));
  const int32 = { to: { int: 6 } };
  const count = model.node('ReduceSum', ['attention_mask', model.int64(1)], { keepdims: { int: 0 } });
  const lastIndex = model.node('Cast', [model.node('Sub', [count, model.int64(1)])], int32);
  const total = model.node('Shape', ['attention_mask'], { start: { int: 1 }, end: { int: 2 } });
  const positions = [lastIndex, model.node('Cast', [model.node('Squeeze', [total])], int32), ...tables];

  let x = model.embedding('input_ids', V, width);
  for (const [layer, type] of sizes.layerTypes.entries()) {
    const read = model.norm(x, width, epsilon);
    const mixed =
      type === 'conv'
        ? shortConvolution(model, sizes, layer, read, { inputs, outputs })
        : attention(model, sizes, layer, read, { inputs, outputs, positions });
    x = model.node('Add', [x, mixed]);
    const normed = model.norm(x, width, epsilon);
    const gate = model.product(normed, width, F);
    const activated = model.node('Mul', [gate, model.node('Sigmoid', [gate])]);
    const up = model.product(normed, width, F);
    const down = model.product(model.node('Mul', [activated, up]), F, width);
    x = model.node('Add', [x, down]);
  }
  const first = model.node('Unsqueeze', [model.node('Neg', ['num_logits_to_keep']), model.int64(0)]);
  const kept = model.node('Slice', [x, first, model.int64(Number.MAX_SAFE_INTEGER), model.int64(1)]);
  const logits = model.product(model.norm(kept, width, epsilon), width, V);
  model.nodes.push({ opType: 'Identity', domain: '', inputs: [logits], outputs: ['logits'], attributes: {} });
  return { name: 'peer', inputs, outputs, nodes: model.nodes, initializers: model.initializers };
}

/** Graph inputs and outputs; each layer adds its cache. */
interface Caches {
  readonly inputs: OnnxValue[];
  readonly outputs: OnnxValue[];
}

function attention(
  model: Model,
  { width, H, M, D, epsilon, hasHeadNorms }: Sizes,
  layer: number,
  x: string,
  { inputs, outputs, positions }: Caches & { readonly positions: readonly string[] },
): string {
  const cache = (part: string, length: string, name: string): OnnxValue => ({
    name: `${name}.${layer}.${part}`,
    dtype: 'float32',
    shape: ['batch_size', M, length, D],
  });
  const past = ['key', 'value'].map((part) => cache(part, 'past_sequence_length', 'past_key_values'));
  const present = ['key', 'value'].map((part) => cache(part, 'total_sequence_length', 'present'));
  inputs.push(...past);
  outputs.push(...present);
  const heads = (count: number): string => {
    const rows = model.product(x, width, count * D);
    if (!hasHeadNorms) return rows;
    const apart = model.node('Reshape', [rows, model.int64(0, -1, count, D)]);
    return model.node('Reshape', [model.norm(apart, D, epsilon), model.int64(0, -1, count * D)]);
  };
  const mixed = `mixed.${layer}`;
  model.nodes.push({
    opType: 'GroupQueryAttention',
    domain: 'com.microsoft',
    inputs: [heads(H), heads(M), model.product(x, width, M * D), ...past.map(({ name }) => name), ...positions],
    outputs: [mixed, ...present.map(({ name }) => name)],
    attributes: { num_heads: { int: H }, kv_num_heads: { int: M }, do_rotary: { int: 1 } },
  });
  return model.product(mixed, H * D, width);
}

/** C ⊙ conv(B ⊙ x), with the last L columns of B ⊙ x as the cache. */
function shortConvolution(
  model: Model,
  { width, kernel }: Sizes,
  layer: number,
  x: string,
  { inputs, outputs }: Caches,
): string {
  const shape = ['batch_size', width, kernel];
  inputs.push({ name: `past_conv.${layer}`, dtype: 'float32', shape });
  outputs.push({ name: `present_conv.${layer}`, dtype: 'float32', shape });
  const columns = model.node('Transpose', [model.product(x, width, 3 * width)], { perm: { ints: [0, 2, 1] } });
  const [B, C, v] = [0, 1, 2].map((part) =>
    model.node('Slice', [columns, model.int64(part * width), model.int64((part + 1) * width), model.int64(1)]),
  );
  const all = model.node('Concat', [`past_conv.${layer}`, model.node('Mul', [B, v])], { axis: { int: -1 } });
  const [end, axis] = [model.int64(Number.MAX_SAFE_INTEGER), model.int64(2)];
  const present = model.node('Slice', [all, model.int64(-kernel), end, axis]);
  model.nodes.push({
    ...{ opType: 'Identity', domain: '', inputs: [present], outputs: [`present_conv.${layer}`], attributes: {} },
  });
  const filters = model.weight(
    tensor('float32', [width, 1, kernel], new Float32Array(width * kernel).fill(1 / kernel)),
  );
  const convolved = model.node('Conv', [all, filters], { group: { int: width }, kernel_shape: { ints: [kernel] } });
  const own = model.node('Slice', [convolved, model.int64(1), end, axis]); // the first column ends before the new tokens
  const rows = model.node('Transpose', [model.node('Mul', [C, own])], { perm: { ints: [0, 2, 1] } });
  return model.product(rows, width, width);
}

/** Cosines and sines [position, D / 2]. */
function rotaryTables(D: number, base: number): Tensor[] {
  const half = D / 2;
  return [Math.cos, Math.sin].map((of) =>
    tensor(
      'float32',
      [longestText, half],
      Float32Array.from({ length: longestText * half }, (_, i) =>
        of(Math.floor(i / half) / base ** ((i % half) / half)),
      ),
    ),
  );
}

/** Writes `config.json` and `onnx/model_q4.onnx`, with its data, into a folder. */
export async function writeModelOnnx(folder: string, shape: Shape): Promise<void> {
  await mkdir(join(folder, 'onnx'), { recursive: true });
  const sizes = sizesOf(shape);
  const dataName = 'model_q4.onnx_data';
  const { bytes, external } = encodeModel(graph(sizes, Number(shape.rope_theta ?? 10_000)), {
    placement: oneFile(dataName, 0),
  });
  await writeFile(join(folder, 'onnx', 'model_q4.onnx'), bytes);
  const file = await open(join(folder, 'onnx', dataName), 'w');
  try {
    for (const { offset, data } of external) {
      for (let done = 0; done < data.length; ) {
        done += (await file.write(data, done, Math.min(data.length - done, 1 << 26), offset + done)).bytesWritten;
      }
    }
  } finally {
    await file.close();
  }
  const { eos_token_id: _, ...config } = shape;
  await writeFile(
    join(folder, 'config.json'),
    JSON.stringify({
      ...config,
      layer_types: sizes.layerTypes,
      architectures: [sizes.hasHeadNorms ? 'Lfm2ForCausalLM' : 'LlamaForCausalLM'],
      'transformers.js_config': { use_external_data_format: { 'model_q4.onnx': 1 } },
    }),
  );
}
