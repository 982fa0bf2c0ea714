/** The mixers of features against loops written once more, straight from their definitions: outputs and gradients. */
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import {
  differenceError,
  drawProblem,
  interleave,
  type Problem,
  randomLike,
  referenceInput,
  referenceOutput,
  runGraph,
  separate,
} from '../../../../test/attention/mixer-problem.ts';
import { relativeToPeak } from '../../../../test/parity/golden.ts';
import { Random } from '../../../random.ts';
import { mixReference } from '../../mixers.ts';
import { type FeaturesMixer, featuresSchema, normalDirections, orthogonalDirections } from './maps.ts';

const H = 4;
const M = 2;
const G = 8;
const K = 5;
const lengths = [1, G - 1, G, G + 1, 2 * G - 1, 3 * G + 5];

const variants: Readonly<Record<string, z.input<typeof featuresSchema>>> = {
  relu: { kind: 'features', group: G, map: { name: 'relu' } },
  'relu with a convolution': { kind: 'features', group: G, map: { name: 'relu' }, convolution: { kernel: K } },
  '1 + elu, ratio': { kind: 'features', group: G, map: { name: 'elu' } },
  transnormer: { kind: 'features', group: G, map: { name: 'elu' }, output: 'rms', convolution: { kernel: K } },
  performer: { kind: 'features', group: G, map: { name: 'performer', features: 10, seed: 5 } },
  rfa: { kind: 'features', group: G, map: { name: 'rfa', features: 16, seed: 5, scale: 1.5 } },
  hedgehog: { kind: 'features', group: G, map: { name: 'hedgehog' }, convolution: { kernel: K } },
  balanced: { kind: 'features', group: G, map: { name: 'balanced' } },
  'yoso, hashed': {
    kind: 'features',
    group: G,
    map: { name: 'hashes', hashes: 4, bits: 3, seed: 5 },
    output: 'unit',
    convolution: { kernel: K },
  },
};

function draw(config: FeaturesMixer, n: number): Problem {
  return drawProblem(config, n, { heads: H, keyValueHeads: M, reads: 'causal' });
}

const inner = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
};
const columnOf = (matrix: ArrayLike<number>, count: number, c: number): number[] =>
  Array.from({ length: matrix.length / count }, (_, r) => matrix[r * count + c]);
const normalized = (values: readonly number[]): number[] => {
  const total = values.reduce((a, b) => a + b, 0);
  return values.map((x) => x / total);
};

/** φ of a row, by the definitions of the papers. */
function phi({ map }: FeaturesMixer, x: Float64Array, query: boolean, weight: Float64Array): number[] {
  const D = x.length;
  if (map.name === 'relu') return Array.from(x, (a) => (a > 0 ? a : 0));
  if (map.name === 'elu') return Array.from(x, (a) => (a > 0 ? a + 1 : Math.exp(a)));
  if (map.name === 'hedgehog' || map.name === 'balanced') {
    const y = Array.from({ length: D }, (_, c) => inner(x, columnOf(weight, D, c)));
    if (map.name === 'balanced') {
      return normalized([...y, ...y.map((a) => -a)].map(Math.exp)).map((a) => a * Math.sqrt(2 * D));
    }
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

/** Row t of a head of [heads,n,width]. */
const rowAt = (data: Float64Array, head: number, { n }: Problem, t: number, width: number): Float64Array =>
  data.slice((head * n + t) * width, (head * n + t + 1) * width);

const keyHead = (h: number): number => Math.floor((h * M) / H);

/** The causal sum before normalization of query head h at t of text b, with Σ weight behind it. */
function weighted(config: FeaturesMixer, problem: Problem, b: number, h: number, t: number): number[] {
  const { q, k, v, D, E } = problem;
  const m = keyHead(h);
  const matrix = (name: string, head: number): Float64Array =>
    problem.parameters.get(name)?.slice(head * D * D, (head + 1) * D * D) ?? new Float64Array(0);
  const query = phi(config, rowAt(q[b], h, problem, t, D), true, matrix('feature_map_q.weight', h));
  const sum = new Array<number>(E + 1).fill(0);
  for (let j = 0; j <= t; j++) {
    const key = phi(config, rowAt(k[b], m, problem, j, D), false, matrix('feature_map_k.weight', m));
    const weight = inner(query, key);
    rowAt(v[b], m, problem, j, E).forEach((value, i) => {
      sum[i] += weight * value;
    });
    sum[E] += weight;
  }
  return sum;
}

const floors: Readonly<Record<string, number>> = { rfa: 0.1, performer: 1e-9 };

function normalizedRow(config: FeaturesMixer, sum: readonly number[]): number[] {
  const [row, total] = [sum.slice(0, -1), sum[sum.length - 1]];
  if (config.output === 'ratio') return row.map((a) => a / Math.max(total, floors[config.map.name] ?? 1e-6));
  if (config.output === 'rms') return row.map((a) => a / Math.sqrt(inner(row, row) / row.length + 1e-6));
  return row.map((a) => a / (1e-5 + Math.sqrt(inner(row, row))));
}

/** The definition for text b: [H,n,E]. */
function definition(config: FeaturesMixer, problem: Problem, b: number): Float64Array {
  const { n, E } = problem;
  const out = new Float64Array(H * n * E);
  const filter = problem.parameters.get('dwconv.weight') ?? new Float64Array(0);
  for (let h = 0; h < H; h++) {
    for (let t = 0; t < n; t++) {
      const row = normalizedRow(config, weighted(config, problem, b, h, t));
      for (let offset = 0; config.convolution !== null && offset <= (K - 1) / 2 && offset <= t; offset++) {
        const value = rowAt(problem.v[b], keyHead(h), problem, t - offset, E);
        for (let i = 0; i < E; i++) row[i] += filter[h * K + (K - 1) / 2 - offset] * value[i];
      }
      out.set(row, (h * n + t) * E);
    }
  }
  return out;
}

/**
 * Largest difference between ⟨gradient, direction⟩ and the central difference along it, over a few random directions,
 * relative to the gradient's length.
 */
function gradientError(gradient: Float64Array, x: Float64Array, loss: (moved: Float64Array) => number): number {
  const random = new Random(77);
  const h = 1e-5;
  let worst = 0;
  for (let attempt = 0; attempt < 4; attempt++) {
    const direction = gradient.map(() => random.normal());
    const at = (step: number): number => loss(x.map((a, j) => a + step * direction[j]));
    const difference = (at(h) - at(-h)) / (2 * h);
    worst = Math.max(worst, Math.abs(difference - inner(gradient, direction)));
  }
  return worst / (0.05 + Math.sqrt(inner(gradient, gradient)));
}

describe.each(Object.entries(variants))('%s', (_, input) => {
  const config = featuresSchema.parse(input);

  it.each(lengths)('reference and graph are the definition at n = %i', async (n) => {
    const problem = draw(config, n);
    const expected = [definition(config, problem, 0), definition(config, problem, 1)];
    expected.forEach((wanted, b) => {
      expect(relativeToPeak(mixReference(config, referenceInput(problem, b)), wanted)).toBeLessThan(1e-10);
    });
    const whole = interleave(expected, H, problem.E);
    const result = await runGraph(problem, whole);
    expect(relativeToPeak(result('out'), whole)).toBeLessThan(2e-5);
  });

  it('gradients are those of the definition', async () => {
    const problem = draw(config, G + 3);
    const dout = randomLike(referenceOutput(problem), 9);
    const result = await runGraph(problem, dout);
    const smooth = config.map.name === 'hashes' ? [] : ['q', 'k'];
    for (const name of [...smooth, 'v', ...problem.parameters.keys()]) {
      expect(differenceError(problem, dout, name, result(`d${name}`)), name).toBeLessThan(3e-4);
    }
  });

  it('the state of earlier positions does not depend on the chunk length', () => {
    const given = referenceInput(draw(config, 20), 0);
    const other: FeaturesMixer = { ...config, group: 3 };
    expect(mixReference(config, given)).toEqual(mixReference(other, given));
  });
});

it('the hashed estimator has the gradient of its expectation, with the derivative that its authors put in place', async () => {
  const config = featuresSchema.parse(variants['yoso, hashed']);
  const bits = 3;
  const problem = draw(config, G + 3);
  const { n, D, E } = problem;
  const all = randomLike(referenceOutput(problem), 9);
  const result = await runGraph(problem, all);
  const cosine = (a: Float64Array, b: Float64Array): number => inner(a, b) / Math.sqrt(inner(a, a) * inner(b, b));
  const [dq, dk] = [separate(Float64Array.from(result('dq')), H, D), separate(Float64Array.from(result('dk')), M, D)];
  for (const [b, dout] of separate(all, H, E).entries()) {
    const [q, k] = [problem.q[b], problem.k[b]];
    // ⟨dsum_t, v_j⟩ · bits/2 · (1 − angle/π)^bits, all held fixed, times cosine(q_t, k_j), which moves.
    const terms: { h: number; t: number; j: number; factor: number }[] = [];
    for (let h = 0; h < H; h++) {
      const m = keyHead(h);
      for (let t = 0; t < n; t++) {
        const row = weighted(config, problem, b, h, t).slice(0, E);
        const d = rowAt(dout, h, problem, t, E);
        const length = Math.sqrt(inner(row, row));
        if (length === 0) continue; // no hash collided: the output has no direction to move in
        const along = inner(row, d) / (length * (length + 1e-5) ** 2);
        const dsum = row.map((a, i) => d[i] / (length + 1e-5) - a * along);
        for (let j = 0; j <= t; j++) {
          const angle = Math.acos(cosine(rowAt(q, h, problem, t, D), rowAt(k, m, problem, j, D)));
          const factor =
            inner(dsum, rowAt(problem.v[b], m, problem, j, E)) * (bits / 2) * (1 - angle / Math.PI) ** bits;
          terms.push({ h, t, j, factor });
        }
      }
    }
    const surrogate = (queries: Float64Array, keys: Float64Array): number =>
      terms.reduce((sum, { h, t, j, factor }) => {
        const key = rowAt(keys, keyHead(h), problem, j, D);
        return sum + factor * cosine(rowAt(queries, h, problem, t, D), key);
      }, 0);
    expect(Math.max(...dq[b])).toBeGreaterThan(1e-3);
    expect(gradientError(dq[b], q, (moved) => surrogate(moved, k))).toBeLessThan(3e-4);
    expect(gradientError(dk[b], k, (moved) => surrogate(q, moved))).toBeLessThan(3e-4);
  }
});
