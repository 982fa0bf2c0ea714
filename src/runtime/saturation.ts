/**
 * Whether the processor adds pairs of 8-bit products in 16 bits, where they saturate: x86 without VNNI does. ONNX Runtime computes
 * with unsigned weights instead where `session.x64quantprecision` asks for it, on every x86 processor: with VNNI prompts then take
 * twice as long (`bench prefill`, the 1.1B shape in w8a8), so it is set only where a product is seen to saturate. WebAssembly adds in
 * 32 bits and does not know the option.
 */
import { readFile } from 'node:fs/promises';
import { Graph, type Value } from '../graph/graph.ts';
import { integerMatmul, rowZeroPoint } from '../graph/ops/quantized.ts';
import { dataOf, elementCount, float32, tensor } from '../graph/tensor.ts';
import { encodeGraph } from './encoded-graph.ts';
import type { EngineModel, EngineSession } from './session-types.ts';

const [rows, inner, columns] = [2, 32, 16];
/** Twice their product does not fit 16 bits. */
const [largestCode, largestWeight] = [255, 127];

/**
 * Whether sums of the largest products come out too small.
 * @param open opens a model without `session.x64quantprecision`
 */
export async function pairsSaturate(open: (model: EngineModel) => Promise<EngineSession>): Promise<boolean> {
  const graph = new Graph('saturation probe');
  const codes = graph.input('codes', 'uint8', [rows, inner]);
  const weights = graph.constant(tensor('int8', [inner, columns], new Int8Array(inner * columns).fill(largestWeight)));
  const ones = (...shape: number[]): Value =>
    graph.constant(float32(shape, new Float32Array(elementCount(shape)).fill(1)));
  graph.output('product', integerMatmul({ codes, scales: ones(rows, 1) }, weights, ones(columns)));
  const session = await open((await encodeGraph(graph, 'cpu')).stored.model);
  try {
    const feeds = { codes: tensor('uint8', [rows, inner], new Uint8Array(rows * inner).fill(largestCode)) };
    const { product } = await session.run(feeds, ['product']);
    const exact = (largestCode - rowZeroPoint) * largestWeight * inner;
    return dataOf(product, 'float32').some((value) => value !== exact);
  } finally {
    await session.dispose();
  }
}

/** Says which models need unsigned weights. The processor is probed once, when the first model with 8-bit products is opened. */
export function saturationGuard(probe: () => Promise<boolean>): (model: EngineModel) => Promise<boolean> {
  let saturates: Promise<boolean> | undefined;
  return async (model) => (await hasIntegerProducts(model)) && (saturates ??= probe());
}

/** Names of ops stand as text in the bytes of a model: MatMulInteger, MatMulIntegerToFloat. */
async function hasIntegerProducts(model: EngineModel): Promise<boolean> {
  const bytes =
    'file' in model
      ? await readFile(model.file)
      : Buffer.from(model.bytes.buffer, model.bytes.byteOffset, model.bytes.byteLength);
  return bytes.includes('MatMulInteger');
}
