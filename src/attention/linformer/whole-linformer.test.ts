import { describe, expect, it } from 'vitest';
import { relativeToPeak } from '../../../test/golden.ts';
import { vectorJacobian } from '../../graph/gradients.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf, float32, type Tensor } from '../../graph/tensor.ts';
import { Random } from '../../random.ts';
import { compile } from '../../runtime/compile.ts';
import { parseMixer } from '../mixer.ts';
import { naiveMixer } from '../naive.ts';
import { mixParallel } from '../parallel.ts';

const H = 4;
const M = 2;
const D = 4;
const r = 3;
const N = 128;
const K = 5;
const config = parseMixer({ kind: 'linformer', rows: r, length: N, convolution: { kernel: K } });

interface Numbers {
  readonly q: Float64Array;
  readonly k: Float64Array;
  readonly v: Float64Array;
  readonly e: Float64Array;
  readonly f: Float64Array;
  readonly taps: Float64Array;
}

/** q, k and v are [n,heads,D], as the parallel form reads them. */
function draw(n: number): Numbers {
  const random = new Random(n);
  const normals = (count: number, size: number): Float64Array =>
    Float64Array.from({ length: count }, () => Math.fround(size * random.normal()));
  return {
    q: normals(n * H * D, 1),
    k: normals(n * M * D, 1),
    v: normals(n * M * D, 1),
    e: normals(r * N, 0.3),
    f: normals(r * N, 0.3),
    taps: normals(H * K, 0.3),
  };
}

/** The definition: [n,H,D]. */
function definition({ q, k, v, e, f, taps }: Numbers, n: number): Float64Array {
  const out = new Float64Array(n * H * D);
  for (let h = 0; h < H; h++) {
    const m = h < 2 ? 0 : 1;
    const project = (weights: Float64Array, x: Float64Array, row: number, i: number): number => {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += weights[row * N + j] * x[(j * M + m) * D + i];
      return sum;
    };
    for (let t = 0; t < n; t++) {
      const powers = Array.from({ length: r }, (_, row) => {
        let score = 0;
        for (let i = 0; i < D; i++) score += q[(t * H + h) * D + i] * project(e, k, row, i);
        return Math.exp(score / Math.sqrt(D));
      });
      const total = powers.reduce((a, b) => a + b, 0);
      for (let i = 0; i < D; i++) {
        let sum = 0;
        powers.forEach((power, row) => {
          sum += (power / total) * project(f, v, row, i);
        });
        for (let lag = 0; lag <= Math.min(2, t); lag++) sum += taps[h * K + 2 - lag] * v[((t - lag) * M + m) * D + i];
        out[(t * H + h) * D + i] = sum;
      }
    }
  }
  return out;
}

async function parallel(x: Numbers, n: number, dout: Float64Array): Promise<Record<string, Tensor>> {
  const graph = new Graph('linformer');
  const shapes = { q: [1, n, H, D], k: [1, n, M, D], v: [1, n, M, D], e: [r, N], f: [r, N], taps: [H, 1, K, 1] };
  const [q, k, v, e, f, taps] = Object.entries(shapes).map(([name, shape]) => graph.input(name, 'float32', shape));
  const parameters = { 'linformer_k.weight': e, 'linformer_v.weight': f, 'dwconv.weight': taps };
  const out = mixParallel(config, { q, k, v }, parameters);
  graph.output('out', out);
  const names = Object.keys(shapes);
  vectorJacobian([out], [graph.input('dout', 'float32', shapes.q)], [q, k, v, e, f, taps]).forEach((gradient, i) => {
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
    dout: float32(shapes.q, dout),
  };
  return await program.run(feeds, ['out', ...names.map((name) => `d${name}`)]);
}

function headsFirst(rows: Float64Array, n: number, heads: number): Float64Array {
  return Float64Array.from(rows, (_, at) => {
    const [h, t, i] = [Math.floor(at / (n * D)), Math.floor(at / D) % n, at % D];
    return rows[(t * heads + h) * D + i];
  });
}

describe('linformer', () => {
  it.each([1, 7, 64, 65, 127])('naive and parallel forms are the definition at n = %i', async (n) => {
    const x = draw(n);
    const expected = definition(x, n);
    const naive = naiveMixer(config, {
      dims: { heads: H, keyValueHeads: M, length: n, headDim: D },
      q: headsFirst(x.q, n, H),
      k: headsFirst(x.k, n, M),
      v: headsFirst(x.v, n, M),
      taps: x.taps,
      projections: { keys: x.e, values: x.f },
    });
    expect(relativeToPeak(naive, headsFirst(expected, n, H))).toBeLessThan(1e-10);
    const { out } = await parallel(x, n, expected);
    expect(relativeToPeak(dataOf(out, 'float32'), expected)).toBeLessThan(2e-5);
  });

  it('gradients are those of the definition', async () => {
    const n = 9;
    const x = draw(n);
    const random = new Random(5);
    const dout = Float64Array.from({ length: n * H * D }, () => Math.fround(random.normal()));
    const results = await parallel(x, n, dout);
    const loss = (moved: Numbers): number => definition(moved, n).reduce((sum, y, i) => sum + y * dout[i], 0);
    for (const name of ['q', 'k', 'v', 'e', 'f', 'taps'] as const) {
      const gradient = dataOf(results[`d${name}`], 'float32');
      const direction = x[name].map(() => random.normal());
      const at = (step: number): number => loss({ ...x, [name]: x[name].map((a, i) => a + step * direction[i]) });
      const difference = (at(1e-5) - at(-1e-5)) / 2e-5;
      const along = gradient.reduce((sum, g, i) => sum + g * direction[i], 0);
      const size = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
      expect(size, name).toBeGreaterThan(0.01);
      expect(Math.abs(difference - along) / size, name).toBeLessThan(1e-4);
    }
  });

  it('refuses sequences longer than its projections, and trees', async () => {
    await expect(parallel(draw(N + 1), N + 1, new Float64Array((N + 1) * H * D))).rejects.toThrow(/128 positions, got/);
    const x = draw(3);
    const input = {
      dims: { heads: H, keyValueHeads: M, length: 3, headDim: D },
      ...x,
      projections: { keys: x.e, values: x.f },
      parents: Int32Array.of(-1, 0, 0),
    };
    expect(() => naiveMixer(config, input)).toThrow(/not defined on trees/);
  });
});
