/** Linformer by blocks against its definition, written once more, and against softmax, which it is with r = G. */
import { describe, expect, it } from 'vitest';
import { relativeToPeak } from '../../../test/golden.ts';
import { vectorJacobian } from '../../graph/gradients.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf, float32, type Tensor } from '../../graph/tensor.ts';
import { Random } from '../../random.ts';
import { compile } from '../../runtime/compile.ts';
import { type MixerConfig, parseMixer } from '../mixer.ts';
import { naiveMixer, type NaiveInput } from '../naive.ts';
import { mixParallel } from '../parallel.ts';

const [H, M, D, E] = [4, 2, 4, 3];
const [G, r, K] = [8, 3, 5];
const lengths = [1, G - 1, G, G + 1, 2 * G - 1, 3 * G + 5];
const config = parseMixer({ kind: 'block-linformer', rows: r, block: G, convolution: { kernel: K } });

/** q [n,H,D], k [n,M,D] and v [n,M,E], as the parallel form reads them; e and f [r,G], taps [H,K]. */
interface Numbers {
  readonly q: Float64Array;
  readonly k: Float64Array;
  readonly v: Float64Array;
  readonly e: Float64Array;
  readonly f: Float64Array;
  readonly taps: Float64Array;
}

function draw(n: number): Numbers {
  const random = new Random(n);
  const normals = (count: number, size: number): Float64Array =>
    Float64Array.from({ length: count }, () => Math.fround(size * random.normal()));
  return {
    q: normals(n * H * D, 1),
    k: normals(n * M * D, 1),
    v: normals(n * M * E, 1),
    e: normals(r * G, 0.5),
    f: normals(r * G, 0.5),
    taps: normals(H * K, 0.3),
  };
}

/** The definition: [n,H,E]. */
function definition({ q, k, v, e, f, taps }: Numbers, n: number): Float64Array {
  const out = new Float64Array(n * H * E);
  for (let h = 0; h < H; h++) {
    const m = h < 2 ? 0 : 1;
    const row = (x: Float64Array, width: number, j: number): number[] => [
      ...x.subarray((j * M + m) * width, (j * M + m + 1) * width),
    ];
    const projected = (weights: Float64Array, x: Float64Array, width: number, block: number, rho: number): number[] =>
      Array.from({ length: width }, (_, i) => {
        let sum = 0;
        for (let j = 0; j < G; j++) sum += weights[rho * G + j] * row(x, width, block * G + j)[i];
        return sum;
      });
    for (let t = 0; t < n; t++) {
      const own = Math.floor(t / G);
      const pairs: { key: number[]; value: number[] }[] = [];
      for (let block = 0; block < own; block++) {
        for (let rho = 0; rho < r; rho++) {
          pairs.push({ key: projected(e, k, D, block, rho), value: projected(f, v, E, block, rho) });
        }
      }
      for (let j = own * G; j <= t; j++) pairs.push({ key: row(k, D, j), value: row(v, E, j) });
      const powers = pairs.map(({ key }) => {
        const score = key.reduce((sum, x, i) => sum + x * q[(t * H + h) * D + i], 0);
        return Math.exp(score / Math.sqrt(D));
      });
      const total = powers.reduce((a, b) => a + b, 0);
      for (let i = 0; i < E; i++) {
        let sum = pairs.reduce((all, { value }, index) => all + (powers[index] / total) * value[i], 0);
        for (let lag = 0; lag <= Math.min(2, t); lag++) sum += taps[h * K + 2 - lag] * row(v, E, t - lag)[i];
        out[(t * H + h) * E + i] = sum;
      }
    }
  }
  return out;
}

async function parallel(x: Numbers, n: number, dout: Float64Array): Promise<Record<string, Tensor>> {
  const graph = new Graph('linformer');
  const shapes = { q: [1, n, H, D], k: [1, n, M, D], v: [1, n, M, E], e: [r, G], f: [r, G], taps: [H, 1, K, 1] };
  const [q, k, v, e, f, taps] = Object.entries(shapes).map(([name, shape]) => graph.input(name, 'float32', shape));
  const parameters = { 'linformer_k.weight': e, 'linformer_v.weight': f, 'dwconv.weight': taps };
  const out = mixParallel(config, { q, k, v }, parameters);
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
  const given = Object.fromEntries(Object.entries(feeds).filter(([name]) => program.inputs.has(name)));
  return await program.run(given, ['out', ...names.map((name) => `d${name}`)]);
}

/** [n,heads,width] → [heads,n,width]. */
function headsFirst(rows: Float64Array, n: number, heads: number): Float64Array {
  const width = rows.length / n / heads;
  return Float64Array.from(rows, (_, at) => {
    const [h, t, i] = [Math.floor(at / (n * width)), Math.floor(at / width) % n, at % width];
    return rows[(t * heads + h) * width + i];
  });
}

function naiveInput(x: Numbers, n: number): NaiveInput {
  return {
    dims: { heads: H, keyValueHeads: M, length: n, headDim: D, valueDim: E },
    q: headsFirst(x.q, n, H),
    k: headsFirst(x.k, n, M),
    v: headsFirst(x.v, n, M),
    taps: x.taps,
    projections: { keys: x.e, values: x.f },
  };
}

describe('linformer by blocks', () => {
  it.each(lengths)('naive and parallel forms are the definition at n = %i', async (n) => {
    const x = draw(n);
    const expected = definition(x, n);
    expect(relativeToPeak(naiveMixer(config, naiveInput(x, n)), headsFirst(expected, n, H))).toBeLessThan(1e-10);
    const { out } = await parallel(x, n, expected);
    expect(relativeToPeak(dataOf(out, 'float32'), expected)).toBeLessThan(2e-5);
  });

  it.each([G - 1, 2 * G + 3])('gradients are those of the definition at n = %i', async (n) => {
    const x = draw(n);
    const random = new Random(5);
    const dout = Float64Array.from({ length: n * H * E }, () => Math.fround(random.normal()));
    const results = await parallel(x, n, dout);
    const loss = (moved: Numbers): number => definition(moved, n).reduce((sum, y, i) => sum + y * dout[i], 0);
    const projected = n < G ? [] : (['e', 'f'] as const);
    for (const name of ['q', 'k', 'v', 'taps', ...projected] as const) {
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

  it('is softmax attention where every position has a row of its own', () => {
    const n = 3 * G + 5;
    const identity = Float64Array.from({ length: G * G }, (_, i) => (i % (G + 1) === 0 ? 1 : 0));
    const whole: MixerConfig = parseMixer({ kind: 'block-linformer', rows: G, block: G });
    const input = naiveInput(draw(n), n);
    const parents = Int32Array.from({ length: n }, (_, position) => (position % 3 === 2 ? position - 2 : position - 1));
    for (const tree of [undefined, parents]) {
      const given = { ...input, parents: tree, projections: { keys: identity, values: identity } };
      expect(relativeToPeak(naiveMixer(whole, given), naiveMixer({ kind: 'softmax' }, given))).toBeLessThan(1e-12);
    }
  });
});
