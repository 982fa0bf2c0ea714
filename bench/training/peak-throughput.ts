/** The runtime's matrix multiplication speed on this machine: the ceiling for training steps. */
import { Graph } from '../../src/graph/graph.ts';
import { matmul } from '../../src/graph/ops/contraction.ts';
import { float32 } from '../../src/graph/tensor.ts';
import { Random } from '../../src/random.ts';
import { compile, type CompileOptions } from '../../src/runtime/compile.ts';
import { time } from '../../src/evaluation/speed/timing.ts';

/** A product's rows, inner dimension and columns. */
export type ProductSize = readonly [rows: number, inner: number, columns: number];

/**
 * The float32 product [rows, inner] × [inner, columns] with the second operand as a weight, which the runtime packs once.
 * The graph sums the product to one row, so that copying it out does not count.
 */
export async function compileProduct([rows, inner, columns]: ProductSize, options: CompileOptions = {}) {
  const random = new Random(1);
  const numbers = (count: number): Float32Array => Float32Array.from({ length: count }, () => random.uniform() - 0.5);
  const graph = new Graph('product');
  const b = graph.weight('b', float32([inner, columns], numbers(inner * columns)));
  const product = matmul(graph.input('a', 'float32', [rows, inner]), b);
  // The output sums all rows, so the runtime computes the whole product.
  graph.output('y', matmul(graph.constant(float32([1, rows], new Float32Array(rows).fill(1))), product));
  const program = await compile(graph, options);
  const a = float32([rows, inner], numbers(rows * inner));
  return { run: () => program.run({ a }, ['y']), [Symbol.asyncDispose]: () => program.dispose() };
}

/** 10⁹ operations per second for a product of this duration; a multiply-add counts as two. */
export function gigaflopsOf([rows, inner, columns]: ProductSize, milliseconds: number): number {
  return (2 * rows * inner * columns) / milliseconds / 1e6;
}

/** A product's speed: the median of `runs`, default 7. */
export async function productSpeed(
  size: ProductSize,
  { runs = 7, ...options }: CompileOptions & { runs?: number } = {},
) {
  await using product = await compileProduct(size, options);
  const timing = await time(product.run, { runs });
  return { size, timing, gigaflops: gigaflopsOf(size, timing.medianMs) };
}

/** The ceiling's size: large enough for every core, small enough to fit. */
export const ceilingSize: ProductSize = [2048, 2048, 2048];
