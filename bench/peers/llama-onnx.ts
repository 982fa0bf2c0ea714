/**
 * A LLaMA of a published shape with random int4 weights, as a folder that transformers.js loads: the operators and the
 * names of the models that are published for it (`GroupQueryAttention` over a key-value cache, `MatMulNBits`).
 */
import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { OnnxAttributes, OnnxDomain, OnnxGraph, OnnxNode, OnnxValue } from '../../src/graph/onnx/model.ts';
import { encodeModel, oneFile } from '../../src/graph/onnx/writer.ts';
import { type Tensor, tensor } from '../../src/graph/tensor.ts';
import type { llamaShape } from '../../src/models/presets/presets.ts';
import { RandomBytes } from './random-blocks.ts';

type Shape = ReturnType<typeof llamaShape>;

/** Positions that the rotary tables reach. */
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

  /** x Wᵀ with int4 weights, activations rounded to int8 as published models allow. */
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
        this.weight(tensor('float32', [outputs * blocks], new Float32Array(outputs * blocks).fill(scale))),
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

function graph(shape: Shape): OnnxGraph {
  const { hidden_size: width, num_attention_heads: H, num_key_value_heads: M, vocab_size: V } = shape;
  const D = width / H;
  const model = new Model();
  const inputs: OnnxValue[] = [
    { name: 'input_ids', dtype: 'int64', shape: ['batch_size', 'sequence_length'] },
    { name: 'attention_mask', dtype: 'int64', shape: ['batch_size', 'total_sequence_length'] },
    { name: 'num_logits_to_keep', dtype: 'int64', shape: [] },
  ];
  const outputs: OnnxValue[] = [{ name: 'logits', dtype: 'float32', shape: ['batch_size', 'kept', V] }];
  const [cos, sin] = rotaryTables(D, shape.rope_theta ?? 10_000).map((table) => model.weight(table));
  const int32 = { to: { int: 6 } };
  const count = model.node('ReduceSum', ['attention_mask', model.int64(1)], { keepdims: { int: 0 } });
  const lastIndex = model.node('Cast', [model.node('Sub', [count, model.int64(1)])], int32);
  const total = model.node('Shape', ['attention_mask'], { start: { int: 1 }, end: { int: 2 } });
  const totalLength = model.node('Cast', [model.node('Squeeze', [total])], int32);

  let x = model.embedding('input_ids', V, width);
  for (let layer = 0; layer < shape.num_hidden_layers; layer++) {
    const cache = (part: string, length: string, name: string): OnnxValue => ({
      name: `${name}.${layer}.${part}`,
      dtype: 'float32',
      shape: ['batch_size', M, length, D],
    });
    const past = ['key', 'value'].map((part) => cache(part, 'past_sequence_length', 'past_key_values'));
    const present = ['key', 'value'].map((part) => cache(part, 'total_sequence_length', 'present'));
    inputs.push(...past);
    outputs.push(...present);
    const read = model.norm(x, width, shape.rms_norm_eps);
    const mixed = `mixed.${layer}`;
    model.nodes.push({
      opType: 'GroupQueryAttention',
      domain: 'com.microsoft',
      inputs: [
        model.product(read, width, H * D),
        model.product(read, width, M * D),
        model.product(read, width, M * D),
        ...past.map(({ name }) => name),
        lastIndex,
        totalLength,
        cos,
        sin,
      ],
      outputs: [mixed, ...present.map(({ name }) => name)],
      attributes: { num_heads: { int: H }, kv_num_heads: { int: M }, do_rotary: { int: 1 } },
    });
    x = model.node('Add', [x, model.product(mixed, width, width)]);
    const normed = model.norm(x, width, shape.rms_norm_eps);
    const gate = model.product(normed, width, shape.intermediate_size);
    const activated = model.node('Mul', [gate, model.node('Sigmoid', [gate])]);
    const up = model.product(normed, width, shape.intermediate_size);
    const down = model.product(model.node('Mul', [activated, up]), shape.intermediate_size, width);
    x = model.node('Add', [x, down]);
  }
  const first = model.node('Unsqueeze', [model.node('Neg', ['num_logits_to_keep']), model.int64(0)]);
  const kept = model.node('Slice', [x, first, model.int64(Number.MAX_SAFE_INTEGER), model.int64(1)]);
  const logits = model.product(model.norm(kept, width, shape.rms_norm_eps), width, V);
  model.nodes.push({ opType: 'Identity', domain: '', inputs: [logits], outputs: ['logits'], attributes: {} });
  return { name: 'llama', inputs, outputs, nodes: model.nodes, initializers: model.initializers };
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

/** Writes `config.json` and `onnx/model_q4.onnx` with its data into a folder. */
export async function writeLlamaOnnx(folder: string, shape: Shape): Promise<void> {
  await mkdir(join(folder, 'onnx'), { recursive: true });
  const dataName = 'model_q4.onnx_data';
  const { bytes, external } = encodeModel(graph(shape), { placement: oneFile(dataName, 0) });
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
      architectures: ['LlamaForCausalLM'],
      'transformers.js_config': { use_external_data_format: { 'model_q4.onnx': 1 } },
    }),
  );
}
