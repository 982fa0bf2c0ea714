/**
 * Storage forms of one matrix in the runtime: bytes per weight in the file, in memory and at the peak, and the time for one row.
 * `node --import tsx bench/decoding/stored-products.ts --forms q4-minima,q4-level-1 --threads 2`. Each form runs in its own process,
 * where twenty matrices of random codes, 230 million weights that fit no cache, read the same row.
 */
import { mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { OnnxAttributes, OnnxGraph, OnnxNode } from '../../src/graph/onnx/model.ts';
import { encodeModel } from '../../src/graph/onnx/writer.ts';
import { bytesPerElement, elementCount, type FileDType, float32, int64 } from '../../src/graph/tensor.ts';
import { Random } from '../../src/random.ts';
import { openSession } from '../../src/runtime/engine.ts';
import { runTypeScript } from '../peers/linnet.ts';

const [inputs, outputs, matrices] = [2048, 5632, 20];
const weights = inputs * outputs * matrices;

/** Codes of a product. Level 4 rounds activations to eight bits; level 1 computes in float32. */
interface Codes {
  readonly bits: 2 | 4 | 8;
  readonly size: number;
  readonly level?: 1 | 4;
  readonly zeros?: 'packed' | 'float';
}

interface Form {
  readonly products: readonly Codes[];
  /** Whether a product with the sums of 32 inputs follows. */
  readonly minima?: boolean;
}

const q4: Codes = { bits: 4, size: 32, zeros: 'packed' };
const forms: Readonly<Record<string, Form>> = {
  q4: { products: [{ bits: 4, size: 32 }] },
  'q4-minima': { products: [q4], minima: true },
  'q4-level-1': { products: [{ ...q4, level: 1 }], minima: true },
  'q4-float-zeros': { products: [{ ...q4, zeros: 'float' }] },
  // A code times its six-bit scale takes ten bits; one scale covers 256 inputs.
  'q4-8-and-2': { products: [8, 2].map((bits) => ({ bits: bits === 8 ? 8 : 2, size: 256 })), minima: true },
  q6: { products: [{ bits: 8, size: 16 }] },
  'q6-level-1': { products: [{ bits: 8, size: 16, level: 1 }] },
  'q6-4-and-2': { products: [4, 2].map((bits) => ({ bits: bits === 4 ? 4 : 2, size: 16 })) },
  q8: { products: [{ bits: 8, size: 32 }] },
};

const { values } = parseArgs({
  options: {
    forms: { type: 'string', default: Object.keys(forms).join(',') },
    threads: { type: 'string', default: '1' },
    one: { type: 'boolean', default: false },
  },
});

if (values.one) await measure(values.forms);
else {
  console.log('form              file  memory   peak   ms of CPU   ms');
  for (const form of values.forms.split(',')) {
    const words = ['--one', '--forms', form, '--threads', values.threads];
    process.stdout.write(await runTypeScript(fileURLToPath(import.meta.url), words));
  }
}

async function measure(name: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'linnet-products-'));
  try {
    const graph = written(forms[name], folder);
    const { bytes, external } = encodeModel(graph);
    const before = memory();
    const session = await openSession(
      { name, bytes, external, folder },
      { device: 'cpu', threads: Number(values.threads), spin: true },
    );
    const random = new Random(2);
    const x = float32(
      [1, inputs],
      Float32Array.from({ length: inputs }, () => random.normal()),
    );
    const times: (readonly [cpu: number, wall: number])[] = [];
    const end = performance.now() + 3000;
    while (times.length < 3 || (performance.now() < end && times.length < 100)) {
      const [cpu, wall] = [process.cpuUsage(), performance.now()];
      await session.run({ x }, ['y']);
      const { user, system } = process.cpuUsage(cpu);
      times.push([(user + system) / 1000, performance.now() - wall]);
    }
    const after = memory();
    await session.dispose();
    const stored = graph.mapped?.reduce((sum, { shape, place }) => sum + byteCount(place.dtype, shape), 0) ?? 0;
    const perWeight = [stored, after.now - before.now, after.peak - before.now].map((count) => count / weights);
    const lowest = ([0, 1] as const).map((i) => times.map((pair) => pair[i]).toSorted((a, b) => a - b)[0]);
    const numbers = [...perWeight.map((each) => each.toFixed(3)), ...lowest.map((ms) => ms.toFixed(2).padStart(8))];
    console.log(`${name.padEnd(16)} ${numbers.join('  ')}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** This process's memory in bytes. */
function memory(): Record<'now' | 'peak', number> {
  const status = readFileSync('/proc/self/status', 'utf8');
  const kibibytes = (key: string): number => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)?.[1]);
  return { now: 1024 * kibibytes('VmRSS'), peak: 1024 * kibibytes('VmHWM') };
}

function byteCount(dtype: FileDType, shape: readonly number[]): number {
  return elementCount(shape) * bytesPerElement[dtype];
}

/** Writes a form's graph, with its weights in a file. */
function written({ products, minima = false }: Form, folder: string): OnnxGraph {
  const file = openSync(join(folder, 'weights'), 'w');
  const random = new Random(1);
  const codes = Uint32Array.from({ length: 1 << 22 }, () => random.integer(2 ** 32));
  const floats = Float32Array.from(codes, (code) => code / 2 ** 42);
  const nodes: OnnxNode[] = [];
  const mapped: NonNullable<OnnxGraph['mapped']>[number][] = [];
  let end = 0;
  const node = (opType: string, from: string[], to: string, attributes: OnnxAttributes = {}): string => {
    const domain = opType === 'MatMulNBits' ? 'com.microsoft' : '';
    nodes.push({ opType, domain, inputs: from, outputs: [to], attributes });
    return to;
  };
  const stored = (name: string, dtype: 'float32' | 'uint8', shape: readonly number[]): string => {
    const { buffer } = dtype === 'float32' ? floats : codes;
    const length = byteCount(dtype, shape);
    // Different numbers for every matrix.
    const bytes = new Uint8Array(buffer, 4 * random.integer((buffer.byteLength - length) / 4), length);
    writeSync(file, bytes, 0, length, end);
    const place = { folder, file: 'weights', offset: end, dtype, unchanged: () => Promise.resolve() };
    mapped.push({ name, shape, place });
    end = Math.ceil((end + length) / 4096) * 4096;
    return name;
  };
  const blocks = inputs / q4.size;
  const initializers = [
    { name: 'blocks', tensor: int64([3], [1, blocks, q4.size]) },
    { name: 'last', tensor: int64([1], [2]) },
  ];
  if (minima)
    node('ReduceSum', [node('Reshape', ['x', 'blocks'], 'x/blocks'), 'last'], 'sums', { keepdims: { int: 0 } });
  const results: string[] = [];
  for (let m = 0; m < matrices; m++) {
    for (const [i, { bits, size, level = 4, zeros }] of products.entries()) {
      const name = `${m}.${i}`;
      const count = inputs / size;
      const parts = [
        'x',
        stored(`${name}.codes`, 'uint8', [outputs, count, (size * bits) / 8]),
        stored(`${name}.scales`, 'float32', [outputs, count]),
      ];
      if (zeros === 'packed') parts.push(stored(`${name}.zeros`, 'uint8', [outputs, (count * bits) / 8]));
      if (zeros === 'float') parts.push(stored(`${name}.zeros`, 'float32', [outputs, count]));
      const integers = { K: inputs, N: outputs, bits, block_size: size, accuracy_level: level };
      const attributes = Object.fromEntries(Object.entries(integers).map(([key, int]) => [key, { int }]));
      results.push(node('MatMulNBits', parts, `${name}.y`, attributes));
    }
    if (minima)
      results.push(node('MatMul', ['sums', stored(`${m}.minima`, 'float32', [blocks, outputs])], `${m}.rest`));
  }
  let sum = results[0];
  for (const [i, result] of results.slice(1).entries()) sum = node('Add', [sum, result], `sum.${i}`);
  node('Identity', [sum], 'y');
  return {
    name: 'products',
    inputs: [{ name: 'x', dtype: 'float32', shape: [1, inputs] }],
    outputs: [{ name: 'y', dtype: 'float32', shape: [1, outputs] }],
    initializers,
    mapped,
    nodes,
  };
}
