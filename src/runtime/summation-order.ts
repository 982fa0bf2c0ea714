/**
 * Whether kernels add up as steps with the same bits need it (docs/verify.md): products of computed matrices from column to column,
 * so that zeros between change no bit, however many rows there are from two on; products with 4-bit weights alike in every even
 * number of rows. That differs by processor, so it is asked of the runtime when a model is opened, once a device.
 */
import { Graph } from '../graph/graph.ts';
import type { Device } from '../graph/onnx/model.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { blockMatmul } from '../graph/ops/quantized.ts';
import { dataOf, float32, type Tensor, tensor } from '../graph/tensor.ts';
import { Random } from '../random.ts';
import type { GraphCompiler } from './program.ts';

/** Rows that products of a width add up in one stretch: open positions and a tree, and a ring before them. */
const stretches = [
  { E: 16, rows: 512 },
  { E: 64, rows: 128 },
] as const;
/** Rows with other numbers than zero. */
const terms = 60;
const inner = 256;
const blocks = [32, 128] as const;
const outputs = [...stretches.map(({ E }) => `sums.${E}`), ...blocks.map((block) => `codes.${block}`)];
const rowCounts = [2, 4, 6, 16, 64] as const;
/** The row of a term among a number of rows: side by side, and with gaps. */
const places: readonly ((term: number, rows: number) => number)[] = [
  (term) => term,
  (term, rows) => term + Math.floor((term * (rows - terms)) / terms / 4) * 3,
];

const answers = new Map<Device, Promise<boolean>>();

/** `addsInOrder` of the kernels of a device; false where it has not all of them. @param compile for it */
export function deviceAddsInOrder(device: Device, compile: GraphCompiler): Promise<boolean> {
  const known = answers.get(device) ?? addsInOrder(compile).catch(() => false);
  answers.set(device, known);
  return known;
}

function repeated(row: Float32Array, count: number): Float32Array {
  const rows = new Float32Array(count * row.length);
  for (let at = 0; at < rows.length; at += row.length) rows.set(row, at);
  return rows;
}

/** Whether equal rows of every product have the same bits, however many they are and wherever the terms are. */
export async function addsInOrder(compile: GraphCompiler): Promise<boolean> {
  const random = new Random(1);
  const numbers = (count: number): Float32Array => Float32Array.from({ length: count }, () => random.normal());
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
    const scales = float32([shape[0], shape[1]], numbers(shape[0] * shape[1]));
    graph.output(`codes.${block}`, blockMatmul(activations, graph.constant(codes), graph.constant(scales)));
  }
  await using program = await compile(graph);
  const ofCodes = numbers(inner);
  const factors = stretches.map(({ E }) => ({ weights: numbers(terms), values: numbers(terms * E) }));
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
