/** Texts with padding, mixed by the oracle and by the graph of an encoder, for tests. */
import { vectorJacobian } from '../../src/graph/gradients.ts';
import { Graph, type Value } from '../../src/graph/graph.ts';
import { dataOf, float32 } from '../../src/graph/tensor.ts';
import { Random } from '../../src/random.ts';
import { compile } from '../../src/runtime/compile.ts';
import { mixBidirectional } from '../../src/attention/bidirectional.ts';
import { type MixerConfig, type MixerParameter, mixerParameters } from '../../src/attention/mixer.ts';
import { naiveMixer, type NaiveInput } from '../../src/attention/naive.ts';

/** Query heads, key-value heads, width of queries and keys, width of values. */
export const [H, M, D, E] = [4, 2, 6, 5];

type ParameterName = MixerParameter['name'];

/** One problem: two texts that share their parameters. Rows are [heads,n,width], as the oracle reads them. */
export interface Problem {
  readonly config: MixerConfig;
  /** Positions of queries. */
  readonly m: number;
  /** Positions of keys. */
  readonly n: number;
  readonly q: readonly Float64Array[];
  readonly k: readonly Float64Array[];
  readonly v: readonly Float64Array[];
  readonly masks: readonly Float64Array[];
  readonly parameters: ReadonlyMap<ParameterName, Float64Array>;
}

const sizes = { heads: H, keyValueHeads: M, headWidth: D };

export function draw(config: MixerConfig, n: number, m = n): Problem {
  const random = new Random(31 * n + m);
  const normals = (count: number, size = 1): Float64Array =>
    Float64Array.from({ length: count }, () => Math.fround(size * random.normal()));
  const batch = [0, 1];
  return {
    config,
    m,
    n,
    q: batch.map(() => normals(H * m * D)),
    k: batch.map(() => normals(M * n * D)),
    v: batch.map(() => normals(M * n * E)),
    // Unequal lengths: padding behind the one text; before, within and behind the other.
    masks: [
      Float64Array.from({ length: n }, (_, at) => (at < Math.ceil(0.8 * n) ? 1 : 0)),
      Float64Array.from({ length: n }, (_, at) => (n === 1 || (at > 1 && at % 5 !== 0 && at < n - 2) ? 1 : 0)),
    ],
    parameters: new Map(
      mixerParameters(config, sizes).map(({ name, shape }) => [
        name,
        normals(
          shape.reduce((a, b) => a * b, 1),
          0.4,
        ),
      ]),
    ),
  };
}

export function naiveInput({ m, n, q, k, v, masks, parameters }: Problem, b: number): NaiveInput {
  return {
    dims: { heads: H, keyValueHeads: M, length: m, headDim: D, valueDim: E, keyLength: n },
    q: q[b],
    k: k[b],
    v: v[b],
    keyMask: masks[b],
    alpha: parameters.get('global_factor')?.[0],
    lambda: parameters.get('local_factor')?.[0],
    taps: parameters.get('dwconv.weight'),
    featureMaps: { queries: parameters.get('feature_map_q.weight'), keys: parameters.get('feature_map_k.weight') },
    projections: { keys: parameters.get('linformer_k.weight'), values: parameters.get('linformer_v.weight') },
  };
}

/** [B] of [heads,n,width] → [B,n,heads,width]. */
export function interleave(parts: readonly ArrayLike<number>[], heads: number, width: number): Float64Array {
  const n = parts[0].length / heads / width;
  return Float64Array.from({ length: parts.length * heads * n * width }, (_, at) => {
    const [b, t, h, i] = [
      Math.floor(at / (n * heads * width)),
      Math.floor(at / (heads * width)) % n,
      Math.floor(at / width) % heads,
      at % width,
    ];
    return parts[b][(h * n + t) * width + i];
  });
}

export function naiveOutput(problem: Problem): Float64Array {
  return interleave(
    problem.masks.map((_, b) => naiveMixer(problem.config, naiveInput(problem, b))),
    H,
    E,
  );
}

/** Output and gradients of the graph, by name; `dout` is [B,m,H,E]. */
export async function runGraph(problem: Problem, dout: Float64Array): Promise<(name: string) => Float32Array> {
  const { config, m, n } = problem;
  const B = problem.masks.length;
  const graph = new Graph('bidirectional');
  const shapes: Record<string, number[]> = { q: [B, m, H, D], k: [B, n, M, D], v: [B, n, M, E] };
  const data: Record<string, Float64Array> = {
    q: interleave(problem.q, H, D),
    k: interleave(problem.k, M, D),
    v: interleave(problem.v, M, E),
  };
  for (const { name, shape } of mixerParameters(config, sizes)) {
    shapes[name] = [...shape];
    data[name] = problem.parameters.get(name) ?? new Float64Array(0);
  }
  const names = Object.keys(shapes);
  const values: Record<string, Value> = Object.fromEntries(
    names.map((name) => [name, graph.input(name, 'float32', shapes[name])]),
  );
  const mask = graph.input('mask', 'float32', [B, n]);
  const { q, k, v, ...parameters } = values;
  const out = mixBidirectional(config, { q, k, v }, mask, parameters);
  const upstream = graph.input('dout', 'float32', [B, m, H, E]);
  graph.output('out', out);
  vectorJacobian([out], [upstream], Object.values(values)).forEach((gradient, i) => {
    graph.output(`d${names[i]}`, gradient);
  });
  await using program = await compile(graph);
  const feeds = {
    ...Object.fromEntries(names.map((name) => [name, float32(shapes[name], data[name])])),
    mask: float32([B, n], interleave(problem.masks, 1, 1)),
    dout: float32([B, m, H, E], dout),
  };
  const given = Object.fromEntries(Object.entries(feeds).filter(([name]) => program.inputs.has(name)));
  const results = await program.run(given, ['out', ...names.map((name) => `d${name}`)]);
  return (name) => dataOf(results[name], 'float32');
}

/** Normal numbers. */
export function randomLike(values: ArrayLike<number>, seed: number): Float64Array {
  const random = new Random(seed);
  return Float64Array.from(values, () => Math.fround(random.normal()));
}

const inner = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
};

/** [B,n,heads,width] → [B] of [heads,n,width]. */
export function separate(rows: Float64Array, heads: number, width: number): Float64Array[] {
  const n = rows.length / 2 / heads / width;
  return [0, 1].map((b) =>
    Float64Array.from({ length: heads * n * width }, (_, at) => {
      const [h, t, i] = [Math.floor(at / (n * width)), Math.floor(at / width) % n, at % width];
      return rows[((b * n + t) * heads + h) * width + i];
    }),
  );
}

/** Largest error of directional derivatives of Σ out·dout against central differences of the oracle. */
export function differenceError(problem: Problem, dout: Float64Array, name: string, gradient: Float32Array): number {
  const rows = { q: { heads: H, width: D }, k: { heads: M, width: D }, v: { heads: M, width: E } };
  const loss = (moved: Problem): number => inner(naiveOutput(moved), dout);
  const step = 1e-5;
  let worst = 0;
  for (const seed of [1, 2, 3]) {
    const direction = randomLike(gradient, seed);
    const moved = (size: number): Problem => {
      if (name === 'q' || name === 'k' || name === 'v') {
        const parts = separate(direction, rows[name].heads, rows[name].width);
        return { ...problem, [name]: problem[name].map((part, b) => part.map((x, i) => x + size * parts[b][i])) };
      }
      const parameters = new Map(problem.parameters);
      for (const [known, values] of parameters) {
        if (known === name)
          parameters.set(
            known,
            values.map((x, i) => x + size * direction[i]),
          );
      }
      return { ...problem, parameters };
    };
    const difference = (loss(moved(step)) - loss(moved(-step))) / (2 * step);
    worst = Math.max(worst, Math.abs(difference - inner(gradient, direction)));
  }
  return worst / (0.05 + Math.sqrt(inner(gradient, gradient)));
}
