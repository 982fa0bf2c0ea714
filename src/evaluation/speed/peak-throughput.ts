/** How fast this machine multiplies matrices through the runtime: the ceiling that training and prefill are held against. */
import { Graph } from '../../graph/graph.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { float32, tensor } from '../../graph/tensor.ts';
import { Random } from '../../random.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';
import { time, type Timing } from './timing.ts';

export interface ProductSpeed {
  /** Rows, inner dimension and columns of the product. */
  readonly size: readonly [number, number, number];
  readonly timing: Timing;
  /** 10⁹ floating-point operations per second; a multiply-add is two. */
  readonly gigaflops: number;
}

/**
 * Speed of the float32 product [rows, inner] × [inner, columns] with the second operand as a weight, which the runtime
 * packs once. The product is summed to one row inside the graph, so that copying it out does not count.
 */
export async function productSpeed(
  [rows, inner, columns]: readonly [number, number, number],
  options: CompileOptions & { runs?: number } = {},
): Promise<ProductSpeed> {
  const { runs = 7, ...compileOptions } = options;
  const random = new Random(1);
  const numbers = (count: number): Float32Array => Float32Array.from({ length: count }, () => random.uniform() - 0.5);
  const graph = new Graph('product');
  const product = matmul(
    graph.input('a', 'float32', [rows, inner]),
    graph.weight('b', tensor('float32', [inner, columns], numbers(inner * columns))),
  );
  // One row of the product as the output: the product itself is computed whole, since rows are.
  graph.output('y', matmul(graph.constant(float32([1, rows], new Float32Array(rows).fill(1))), product));
  const program = await compile(graph, compileOptions);
  try {
    const a = tensor('float32', [rows, inner], numbers(rows * inner));
    const timing = await time(() => program.run({ a }, ['y']), { runs });
    return { size: [rows, inner, columns], timing, gigaflops: (2 * rows * inner * columns) / timing.medianMs / 1e6 };
  } finally {
    await program.dispose();
  }
}

/** The size whose speed is called the ceiling: large enough for every core, small enough to fit. */
export const ceilingSize: readonly [number, number, number] = [2048, 2048, 2048];
