/** The mixers of features against loops written once more, straight from their definitions: outputs and gradients. */
import { describe, expect, it } from 'vitest';
import { relativeToPeak } from '../../../test/parity/golden.ts';
import { vectorJacobian } from '../../graph/gradients.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { dataOf, float32 } from '../../graph/tensor.ts';
import { Random } from '../../random.ts';
import { compile } from '../../runtime/compile.ts';
import { type FeaturesMixer, type MixerInput, parseMixer } from '../mixer.ts';
import { type NaiveInput, naiveMixer } from '../naive.ts';
import { mixParallel } from '../parallel.ts';
import { normalDirections, orthogonalDirections } from './random-features.ts';

const H = 4;
const M = 2;
const D = 6;
const G = 8;
const K = 5;
const lengths = [1, G - 1, G, G + 1, 2 * G - 1, 3 * G + 5];

const variants: Readonly<Record<string, MixerInput>> = {
  relu: { kind: 'features', group: G, map: { name: 'relu' } },
  'relu with a convolution': { kind: 'features', group: G, map: { name: 'relu' }, convolution: { kernel: K } },
  '1 + elu, ratio': { kind: 'features', group: G, map: { name: 'elu' } },
  transnormer: { kind: 'features', group: G, map: { name: 'elu' }, output: 'rms', convolution: { kernel: K } },
  performer: { kind: 'features', group: G, map: { name: 'performer', features: 10, seed: 5 } },
  rfa: { kind: 'features', group: G, map: { name: 'rfa', features: 16, seed: 5, scale: 1.5 } },
  hedgehog: { kind: 'features', group: G, map: { name: 'hedgehog' }, convolution: { kernel: K } },
  'yoso, hashed': {
    kind: 'features',
    group: G,
    map: { name: 'hashes', hashes: 4, bits: 3, seed: 5 },
    output: 'unit',
    convolution: { kernel: K },
  },
};

function features(mixer: MixerInput): FeaturesMixer {
  const config = parseMixer(mixer);
  if (config.kind !== 'features') throw new Error('not a mixer of features');
  return config;
}

/** Flat arrays: q [H,n,D], k and v [M,n,D], taps [H,K], maps [H,D,D] and [M,D,D]. */
interface Numbers {
  readonly q: Float64Array;
  readonly k: Float64Array;
  readonly v: Float64Array;
  readonly taps: Float64Array;
  readonly mapQ: Float64Array;
  readonly mapK: Float64Array;
}

function draw(n: number): Numbers {
  const random = new Random(100 + n);
  const normals = (count: number, size = 1): Float64Array =>
    Float64Array.from({ length: count }, () => Math.fround(size * random.normal()));
  return {
    q: normals(H * n * D),
    k: normals(M * n * D),
    v: normals(M * n * D),
    taps: normals(H * K, 0.3),
    mapQ: normals(H * D * D, 0.5),
    mapK: normals(M * D * D, 0.5),
  };
}

const inner = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
};
const columnOf = (matrix: ArrayLike<number>, count: number, c: number): number[] =>
  Array.from({ length: D }, (_, r) => matrix[r * count + c]);
const normalized = (values: readonly number[]): number[] => {
  const total = values.reduce((a, b) => a + b, 0);
  return values.map((x) => x / total);
};

/** φ of a row, by the definitions of the papers. */
function phi({ map }: FeaturesMixer, x: Float64Array, query: boolean, weight: Float64Array): number[] {
  if (map.name === 'relu') return Array.from(x, (a) => (a > 0 ? a : 0));
  if (map.name === 'elu') return Array.from(x, (a) => (a > 0 ? a + 1 : Math.exp(a)));
  if (map.name === 'hedgehog') {
    const y = Array.from({ length: D }, (_, c) => inner(x, columnOf(weight, D, c)));
    return [...normalized(y.map(Math.exp)), ...normalized(y.map((a) => Math.exp(-a)))];
  }
  if (map.name === 'performer') {
    const omega = orthogonalDirections(D, map.features, map.seed);
    const scaled = x.map((a) => a / Math.sqrt(Math.sqrt(D)));
    const dots = Array.from({ length: map.features }, (_, c) => inner(scaled, columnOf(omega, map.features, c)));
    const shift = query ? Math.max(...dots) : inner(scaled, scaled) / 2;
    return dots.map((a) => (Math.exp(a - shift) + 1e-4) / Math.sqrt(map.features));
  }
  if (map.name === 'rfa') {
    const omega = normalDirections(D, map.features, map.seed);
    const length = Math.sqrt(inner(x, x));
    const angle = (c: number): number => inner(x, columnOf(omega, map.features, c)) / length / map.scale;
    return [Math.sin, Math.cos].flatMap((wave) =>
      Array.from({ length: map.features }, (_, c) => wave(angle(c)) / Math.sqrt(map.features)),
    );
  }
  const planes = normalDirections(D, map.hashes * map.bits, map.seed);
  return Array.from({ length: map.hashes }, (_, hash) => {
    const sides = Array.from({ length: map.bits }, (_, bit) =>
      inner(x, columnOf(planes, map.hashes * map.bits, hash * map.bits + bit)) > 0 ? 2 ** bit : 0,
    );
    const bucket = sides.reduce((a, b) => a + b, 0);
    return Array.from({ length: 2 ** map.bits }, (_, i) => (i === bucket ? 1 / Math.sqrt(map.hashes) : 0));
  }).flat();
}

const rowAt = (data: Float64Array, head: number, n: number, t: number): Float64Array =>
  data.slice((head * n + t) * D, (head * n + t + 1) * D);

/** The causal sum before normalization of query head h at t, with Σ weight behind it. */
function weighted(config: FeaturesMixer, x: Numbers, n: number, h: number, t: number): number[] {
  const m = Math.floor((h * M) / H);
  const square = D * D;
  const query = phi(config, rowAt(x.q, h, n, t), true, x.mapQ.slice(h * square, (h + 1) * square));
  const sum = new Array<number>(D + 1).fill(0);
  for (let j = 0; j <= t; j++) {
    const key = phi(config, rowAt(x.k, m, n, j), false, x.mapK.slice(m * square, (m + 1) * square));
    const weight = inner(query, key);
    rowAt(x.v, m, n, j).forEach((value, i) => {
      sum[i] += weight * value;
    });
    sum[D] += weight;
  }
  return sum;
}

const floors: Readonly<Record<string, number>> = { rfa: 0.1, performer: 1e-9 };

function normalizedRow(config: FeaturesMixer, sum: readonly number[]): number[] {
  const row = sum.slice(0, D);
  if (config.output === 'ratio') return row.map((a) => a / Math.max(sum[D], floors[config.map.name] ?? 1e-6));
  if (config.output === 'rms') return row.map((a) => a / Math.sqrt(inner(row, row) / D + 1e-6));
  return row.map((a) => a / (1e-5 + Math.sqrt(inner(row, row))));
}

function mixed(config: FeaturesMixer, x: Numbers, n: number): Float64Array {
  const out = new Float64Array(H * n * D);
  for (let h = 0; h < H; h++) {
    for (let t = 0; t < n; t++) {
      const row = normalizedRow(config, weighted(config, x, n, h, t));
      for (let lag = 0; config.convolution !== null && lag <= (K - 1) / 2 && lag <= t; lag++) {
        const value = rowAt(x.v, Math.floor((h * M) / H), n, t - lag);
        for (let i = 0; i < D; i++) row[i] += x.taps[h * K + (K - 1) / 2 - lag] * value[i];
      }
      out.set(row, (h * n + t) * D);
    }
  }
  return out;
}

/**
 * Largest difference between ⟨gradient, direction⟩ and the central difference along it, over a few random directions,
 * relative to the gradient's length.
 */
function gradientError(gradient: ArrayLike<number>, x: Numbers, name: keyof Numbers, loss: (moved: Numbers) => number) {
  const random = new Random(77);
  const h = 1e-5;
  let worst = 0;
  for (let attempt = 0; attempt < 4; attempt++) {
    const direction = Float64Array.from(gradient, () => random.normal());
    const at = (step: number): number => loss({ ...x, [name]: x[name].map((a, j) => a + step * direction[j]) });
    const difference = (at(h) - at(-h)) / (2 * h);
    worst = Math.max(worst, Math.abs(difference - inner(gradient, direction)));
  }
  return worst / (0.05 + Math.sqrt(inner(gradient, gradient)));
}

/** [heads,n,D] ↔ [1,n,heads,D]. */
function swap(data: ArrayLike<number>, outer: number, innerCount: number): Float64Array {
  const result = new Float64Array(data.length);
  for (let a = 0; a < outer; a++)
    for (let b = 0; b < innerCount; b++)
      for (let i = 0; i < D; i++) result[(b * outer + a) * D + i] = data[(a * innerCount + b) * D + i];
  return result;
}

async function parallel(config: FeaturesMixer, x: Numbers, n: number, dout: Float64Array) {
  const graph = new Graph('features');
  const q = graph.input('q', 'float32', [1, n, H, D]);
  const k = graph.input('k', 'float32', [1, n, M, D]);
  const v = graph.input('v', 'float32', [1, n, M, D]);
  const taps = graph.input('taps', 'float32', [H, 1, K, 1]);
  const mapQ = graph.input('mapQ', 'float32', [H, D, D]);
  const mapK = graph.input('mapK', 'float32', [M, D, D]);
  const out = mixParallel(
    config,
    { q, k, v },
    { 'dwconv.weight': taps, 'feature_map_q.weight': mapQ, 'feature_map_k.weight': mapK },
  );
  const inputs: Readonly<Record<keyof Numbers, Value>> = { q, k, v, taps, mapQ, mapK };
  const upstream = graph.input('dout', 'float32', [1, n, H, D]);
  graph.output('out', out);
  const names = Object.keys(inputs);
  vectorJacobian([out], [upstream], Object.values(inputs)).forEach((gradient, i) => {
    graph.output(`d${names[i]}`, gradient);
  });
  await using program = await compile(graph);
  const feeds = {
    q: float32([1, n, H, D], swap(x.q, H, n)),
    k: float32([1, n, M, D], swap(x.k, M, n)),
    v: float32([1, n, M, D], swap(x.v, M, n)),
    taps: float32([H, 1, K, 1], x.taps),
    mapQ: float32([H, D, D], x.mapQ),
    mapK: float32([M, D, D], x.mapK),
    dout: float32([1, n, H, D], swap(dout, H, n)),
  };
  const given = Object.fromEntries(Object.entries(feeds).filter(([name]) => program.inputs.has(name)));
  const results = await program.run(given, ['out', ...names.map((name) => `d${name}`)]);
  return (name: string): Float32Array => dataOf(results[name], 'float32');
}

function naiveInput(x: Numbers, n: number): NaiveInput {
  return {
    dims: { heads: H, keyValueHeads: M, length: n, headDim: D },
    ...x,
    featureMaps: { queries: x.mapQ, keys: x.mapK },
  };
}

describe.each(Object.entries(variants))('%s', (_, input) => {
  const config = features(input);

  it.each(lengths)('naive and parallel forms are the definition at n = %i', async (n) => {
    const x = draw(n);
    const expected = mixed(config, x, n);
    expect(relativeToPeak(naiveMixer(config, naiveInput(x, n)), expected)).toBeLessThan(1e-10);
    const result = await parallel(config, x, n, expected);
    expect(relativeToPeak(swap(result('out'), n, H), expected)).toBeLessThan(2e-5);
  });

  it('gradients are those of the definition', async () => {
    const n = G + 3;
    const x = draw(n);
    const random = new Random(9);
    const dout = Float64Array.from({ length: H * n * D }, () => Math.fround(random.normal()));
    const result = await parallel(config, x, n, dout);
    const loss = (moved: Numbers): number => inner(mixed(config, moved, n), dout);
    const learned = config.map.name === 'hedgehog' ? (['mapQ', 'mapK'] as const) : [];
    const smooth = config.map.name === 'hashes' ? [] : (['q', 'k'] as const);
    for (const name of [
      ...smooth,
      'v',
      ...learned,
      ...(config.convolution === null ? [] : (['taps'] as const)),
    ] as const) {
      const actual = result(`d${name}`);
      const ordered = name === 'q' ? swap(actual, n, H) : name === 'k' || name === 'v' ? swap(actual, n, M) : actual;
      expect(gradientError(ordered, x, name, loss), name).toBeLessThan(3e-4);
    }
  });

  it('the state of earlier positions does not depend on the chunk length', () => {
    const n = 20;
    const x = draw(n);
    const other = naiveMixer({ ...config, group: 3 }, naiveInput(x, n));
    expect(naiveMixer(config, naiveInput(x, n))).toEqual(other);
  });
});

it('the hashed estimator has the gradient of its expectation, with the derivative that its authors put in place', async () => {
  const config = features(variants['yoso, hashed']);
  const bits = 3;
  const n = G + 3;
  const x = draw(n);
  const random = new Random(9);
  const dout = Float64Array.from({ length: H * n * D }, () => Math.fround(random.normal()));
  const result = await parallel(config, x, n, dout);
  const cosine = (a: Float64Array, b: Float64Array): number => inner(a, b) / Math.sqrt(inner(a, a) * inner(b, b));
  // ⟨dsum_t, v_j⟩ · bits/2 · (1 − angle/π)^bits, all held fixed, times cosine(q_t, k_j), which moves.
  const terms: { h: number; t: number; j: number; factor: number }[] = [];
  for (let h = 0; h < H; h++) {
    const m = Math.floor((h * M) / H);
    for (let t = 0; t < n; t++) {
      const row = weighted(config, x, n, h, t).slice(0, D);
      const d = dout.slice((h * n + t) * D, (h * n + t + 1) * D);
      const length = Math.sqrt(inner(row, row));
      if (length === 0) continue; // no hash collided: the output has no direction to move in
      const along = inner(row, d) / (length * (length + 1e-5) ** 2);
      const dsum = row.map((a, i) => d[i] / (length + 1e-5) - a * along);
      for (let j = 0; j <= t; j++) {
        const angle = Math.acos(cosine(rowAt(x.q, h, n, t), rowAt(x.k, m, n, j)));
        const factor = inner(dsum, rowAt(x.v, m, n, j)) * (bits / 2) * (1 - angle / Math.PI) ** bits;
        terms.push({ h, t, j, factor });
      }
    }
  }
  const surrogate = (moved: Numbers): number =>
    terms.reduce((sum, { h, t, j, factor }) => {
      const key = rowAt(moved.k, Math.floor((h * M) / H), n, j);
      return sum + factor * cosine(rowAt(moved.q, h, n, t), key);
    }, 0);
  const dq = swap(result('dq'), n, H);
  expect(Math.max(...dq)).toBeGreaterThan(1e-3);
  expect(gradientError(dq, x, 'q', surrogate)).toBeLessThan(3e-4);
  expect(gradientError(swap(result('dk'), n, M), x, 'k', surrogate)).toBeLessThan(3e-4);
});
