/** Numbers for Linformer, in the form for whole sequences and by blocks, mixed by its graph with gradients, for tests. */
import { expect } from 'vitest';
import type { MixerConfig } from '../../src/attention/mixer.ts';
import type { NaiveInput } from '../../src/attention/naive.ts';
import { mixParallel } from '../../src/attention/parallel.ts';
import { vectorJacobian } from '../../src/graph/gradients.ts';
import { Graph } from '../../src/graph/graph.ts';
import { dataOf, float32, type Tensor } from '../../src/graph/tensor.ts';
import { Random } from '../../src/random.ts';
import { compile } from '../../src/runtime/compile.ts';

/** Query heads, key-value heads, width of queries and keys, taps of the convolution. */
export const [H, M, D, K] = [4, 2, 4, 5];

/** q [n,H,D], k [n,M,D] and v [n,M,E], as the parallel form reads them; e and f [rows,columns], taps [H,K]. */
export interface Numbers {
  readonly q: Float64Array;
  readonly k: Float64Array;
  readonly v: Float64Array;
  readonly e: Float64Array;
  readonly f: Float64Array;
  readonly taps: Float64Array;
}

export interface LinformerSizes {
  /** Width of values. */
  readonly E: number;
  /** What projections project to, and from. */
  readonly rows: number;
  readonly columns: number;
  /** Standard deviation of the projections. */
  readonly spread: number;
}

/** A Linformer with a convolution of K taps: how its numbers are drawn, and what its graph makes of them. */
export class LinformerProblem {
  readonly #config: MixerConfig;
  readonly #sizes: LinformerSizes;

  constructor(config: MixerConfig, sizes: LinformerSizes) {
    this.#config = config;
    this.#sizes = sizes;
  }

  /** Numbers of a sequence of n positions, the same for the same n. */
  draw(n: number): Numbers {
    const { E, rows, columns, spread } = this.#sizes;
    const random = new Random(n);
    const normals = (count: number, size: number): Float64Array =>
      Float64Array.from({ length: count }, () => Math.fround(size * random.normal()));
    return {
      q: normals(n * H * D, 1),
      k: normals(n * M * D, 1),
      v: normals(n * M * E, 1),
      e: normals(rows * columns, spread),
      f: normals(rows * columns, spread),
      taps: normals(H * K, 0.3),
    };
  }

  /** The same numbers as the oracle reads them. */
  naiveInput(x: Numbers, n: number): NaiveInput {
    return {
      dims: { heads: H, keyValueHeads: M, length: n, headDim: D, valueDim: this.#sizes.E },
      q: headsFirst(x.q, n, H),
      k: headsFirst(x.k, n, M),
      v: headsFirst(x.v, n, M),
      taps: x.taps,
      projections: { keys: x.e, values: x.f },
    };
  }

  /** By the parallel form: `out` [1,n,H,E], and `d` with the name of each of the numbers, its gradient for `dout`. */
  async parallel(x: Numbers, n: number, dout: Float64Array): Promise<Record<string, Tensor>> {
    const { E, rows, columns } = this.#sizes;
    const graph = new Graph('linformer');
    const shapes = {
      ...{ q: [1, n, H, D], k: [1, n, M, D], v: [1, n, M, E] },
      ...{ e: [rows, columns], f: [rows, columns], taps: [H, 1, K, 1] },
    };
    const [q, k, v, e, f, taps] = Object.entries(shapes).map(([name, shape]) => graph.input(name, 'float32', shape));
    const parameters = { 'linformer_k.weight': e, 'linformer_v.weight': f, 'dwconv.weight': taps };
    const out = mixParallel(this.#config, { q, k, v }, parameters);
    graph.output('out', out);
    const names = Object.keys(shapes);
    const upstream = graph.input('dout', 'float32', [1, n, H, E]);
    vectorJacobian([out], [upstream], [q, k, v, e, f, taps]).forEach((gradient, i) => {
      graph.output(`d${names[i]}`, gradient);
    });
    await using program = await compile(graph);
    const feeds = {
      q: float32(shapes.q, x.q),
      k: float32(shapes.k, x.k),
      v: float32(shapes.v, x.v),
      e: float32(shapes.e, x.e),
      f: float32(shapes.f, x.f),
      taps: float32(shapes.taps, x.taps),
      dout: float32([1, n, H, E], dout),
    };
    // A sequence within one block has no use for the projections.
    const given = Object.fromEntries(Object.entries(feeds).filter(([name]) => program.inputs.has(name)));
    return await program.run(given, ['out', ...names.map((name) => `d${name}`)]);
  }

  /** Gradients of the parallel form are the slopes of `definition` along a random direction of every one of `names`. */
  async expectGradients(
    n: number,
    definition: (x: Numbers, n: number) => Float64Array,
    names: readonly (keyof Numbers)[],
  ): Promise<void> {
    const x = this.draw(n);
    const random = new Random(5);
    const dout = Float64Array.from({ length: n * H * this.#sizes.E }, () => Math.fround(random.normal()));
    const results = await this.parallel(x, n, dout);
    const loss = (moved: Numbers): number => definition(moved, n).reduce((sum, y, i) => sum + y * dout[i], 0);
    for (const name of names) {
      const gradient = dataOf(results[`d${name}`], 'float32');
      const direction = x[name].map(() => random.normal());
      const at = (step: number): number => loss({ ...x, [name]: x[name].map((a, i) => a + step * direction[i]) });
      const difference = (at(1e-5) - at(-1e-5)) / 2e-5;
      const along = gradient.reduce((sum, g, i) => sum + g * direction[i], 0);
      const size = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
      expect(size, name).toBeGreaterThan(0.01);
      expect(Math.abs(difference - along) / size, name).toBeLessThan(1e-4);
    }
  }
}

/** [n,heads,width] → [heads,n,width]. */
export function headsFirst(rows: Float64Array, n: number, heads: number): Float64Array {
  const width = rows.length / n / heads;
  return Float64Array.from(rows, (_, at) => {
    const [h, t, i] = [Math.floor(at / (n * width)), Math.floor(at / width) % n, at % width];
    return rows[(t * heads + h) * width + i];
  });
}
