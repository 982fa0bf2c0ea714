/**
 * Probes of a device's kernels, whose rounding and summation order differ by processor. Each runs once per device, on first
 * demand: a session with 8-bit products calls `pairsSaturate`, `engine.sameBits` calls `addsInOrder`.
 */
import { Graph, type Value } from '../graph/graph.ts';
import type { Device } from '../graph/onnx/model.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { blockMatmul, integerMatmul, rowZeroPoint } from '../graph/ops/quantized.ts';
import { dataOf, elementCount, float32, type Tensor, tensor } from '../graph/tensor.ts';
import { Random } from '../random.ts';
import type { GraphCompiler } from './program.ts';

/** Probes each device once. */
export function askedOnce(
  probe: (compile: GraphCompiler) => Promise<boolean>,
): (device: Device, compile: GraphCompiler) => Promise<boolean> {
  const answers = new Map<Device, Promise<boolean>>();
  return (device, compile) => {
    const answer = answers.get(device) ?? probe(compile);
    answers.set(device, answer);
    return answer;
  };
}

/** Twice their product does not fit into 16 bits. */
const [largestCode, largestWeight] = [255, 127];

/**
 * Whether the processor adds pairs of 8-bit products in 16 bits, where they saturate: x86 without VNNI does. With
 * `session.x64quantprecision` ONNX Runtime computes with unsigned weights instead, on every x86 processor: with VNNI
 * prompts then take twice as long (`bench prefill`, the 1.1B shape in w8a8), so it is set only if a product proves to
 * saturate. WebAssembly adds in 32 bits and lacks the option.
 * @param compile compiles without that option
 */
export async function pairsSaturate(compile: GraphCompiler): Promise<boolean> {
  const [rows, K, N] = [2, 32, 16];
  const graph = new Graph('saturation of pairs');
  const codes = graph.input('codes', 'uint8', [rows, K]);
  const weights = graph.constant(tensor('int8', [K, N], new Int8Array(K * N).fill(largestWeight)));
  const ones = (...shape: number[]): Value =>
    graph.constant(float32(shape, new Float32Array(elementCount(shape)).fill(1)));
  graph.output('product', integerMatmul({ codes, scales: ones(rows, 1) }, weights, ones(N)));
  await using program = await compile(graph);
  const feeds = { codes: tensor('uint8', [rows, K], new Uint8Array(rows * K).fill(largestCode)) };
  const { product } = await program.run(feeds, ['product']);
  const exact = (largestCode - rowZeroPoint) * largestWeight * K;
  return dataOf(product, 'float32').some((value) => value !== exact);
}

/** Rows that a width's products sum in one stretch: open positions and a tree, and a ring before them. */
const stretches = [
  { E: 16, rows: 512 },
  { E: 64, rows: 128 },
] as const;
/** Number of nonzero rows. */
const terms = 60;
const inner = 256;
const blocks = [32, 128] as const;
const outputs = [...stretches.map(({ E }) => `sums.${E}`), ...blocks.map((block) => `codes.${block}`)];
const rowCounts = [2, 4, 6, 16, 64] as const;
/** Row of a term among a number of rows: contiguous, and with gaps. */
const places: readonly ((term: number, rows: number) => number)[] = [
  (term) => term,
  (term, rows) => term + Math.floor((term * (rows - terms)) / terms / 4) * 3,
];

function repeated(row: Float32Array, count: number): Float32Array {
  const rows = new Float32Array(count * row.length);
  for (let at = 0; at < rows.length; at += row.length) rows.set(row, at);
  return rows;
}

/**
 * Whether kernels sum as bit-equal steps require (docs/verify.md): products of computed matrices column by column, so that
 * zeros in between change no bit, with any number of rows from two on; products with 4-bit weights in the same order for
 * every even number of rows.
 */
export async function addsInOrder(compile: GraphCompiler): Promise<boolean> {
  const random = new Random(1);
  const graph = new Graph('order of sums');
  for (const { E, rows } of stretches) {
    const weights = graph.input(`weights.${E}`, 'float32', [1, 2, 'T', rows]);
    graph.output(`sums.${E}`, matmul(weights, graph.input(`values.${E}`, 'float32', [1, 2, rows, E])));
  }
  const activations = graph.input('activations', 'float32', ['T', inner]);
  for (const block of blocks) {
    const shape = [16, inner / block, block / 2] as const;
    const codes = tensor(
      'uint8',
      shape,
      Uint8Array.from({ length: 8 * inner }, () => random.integer(256)),
    );
    const scales = float32([shape[0], shape[1]], random.normals(shape[0] * shape[1]));
    graph.output(`codes.${block}`, blockMatmul(activations, graph.constant(codes), graph.constant(scales)));
  }
  await using program = await compile(graph);
  const ofCodes = random.normals(inner);
  const factors = stretches.map(({ E }) => ({ weights: random.normals(terms), values: random.normals(terms * E) }));
  let first: readonly Float32Array[] | undefined;
  for (const place of places) {
    for (const T of rowCounts) {
      const feeds: Record<string, Tensor> = { activations: float32([T, inner], repeated(ofCodes, T)) };
      stretches.forEach(({ E, rows }, i) => {
        const weights = new Float32Array(rows);
        const values = new Float32Array(rows * E);
        for (let term = 0; term < terms; term++) {
          const at = place(term, rows);
          weights[at] = factors[i].weights[term];
          values.set(factors[i].values.subarray(term * E, (term + 1) * E), at * E);
        }
        feeds[`weights.${E}`] = float32([1, 2, T, rows], repeated(weights, 2 * T));
        feeds[`values.${E}`] = float32([1, 2, rows, E], repeated(values, 2));
      });
      const results = await program.run(feeds, outputs);
      const data = outputs.map((name) => dataOf(results[name], 'float32'));
      first ??= data.map((all, i) => all.slice(0, results[outputs[i]].shape.at(-1)));
      for (const [i, row] of first.entries()) if (data[i].some((x, at) => x !== row[at % row.length])) return false;
    }
  }
  return true;
}

/** False for a device without all these kernels. */
export const deviceAddsInOrder = askedOnce((compile) => addsInOrder(compile).catch(() => false));
