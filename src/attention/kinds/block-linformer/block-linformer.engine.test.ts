/** Linformer by blocks against its definition, written once more, and against softmax, which it is with r = G. */
import { describe, expect, it } from 'vitest';
import {
  differenceError,
  drawProblem,
  interleave,
  type Problem,
  randomLike,
  referenceInput,
  referenceOutput,
  runGraph,
} from '../../../../test/attention/mixer-problem.ts';
import { relativeToPeak } from '../../../../test/parity/golden.ts';
import { mixReference, parseMixer } from '../../mixers.ts';

const [G, r, K] = [8, 3, 5];
const lengths = [1, G - 1, G, G + 1, 2 * G - 1, 3 * G + 5];
const config = parseMixer({ kind: 'block-linformer', rows: r, block: G, convolution: { kernel: K } });

function draw(n: number): Problem {
  return drawProblem(config, n, { heads: 4, keyValueHeads: 2, reads: 'causal' });
}

/** The definition for text `b`: [H,n,E]. */
function definition({ q, k, v, parameters, heads: { heads: H }, D, E, n }: Problem, b: number): Float64Array {
  const out = new Float64Array(H * n * E);
  const weight = (name: string, at: number): number => parameters.get(name)?.[at] ?? Number.NaN;
  for (let h = 0; h < H; h++) {
    const m = h < 2 ? 0 : 1;
    const key = (j: number): number[] => [...k[b].subarray((m * n + j) * D, (m * n + j + 1) * D)];
    const value = (j: number): number[] => [...v[b].subarray((m * n + j) * E, (m * n + j + 1) * E)];
    const projected = (name: string, row: (j: number) => number[], width: number, block: number, rho: number) =>
      Array.from({ length: width }, (_, i) => {
        let sum = 0;
        for (let j = 0; j < G; j++) sum += weight(name, rho * G + j) * row(block * G + j)[i];
        return sum;
      });
    for (let t = 0; t < n; t++) {
      const own = Math.floor(t / G);
      const pairs: { key: number[]; value: number[] }[] = [];
      for (let block = 0; block < own; block++) {
        for (let rho = 0; rho < r; rho++) {
          pairs.push({
            key: projected('linformer_k.weight', key, D, block, rho),
            value: projected('linformer_v.weight', value, E, block, rho),
          });
        }
      }
      for (let j = own * G; j <= t; j++) pairs.push({ key: key(j), value: value(j) });
      const powers = pairs.map((pair) => {
        const score = pair.key.reduce((sum, x, i) => sum + x * q[b][(h * n + t) * D + i], 0);
        return Math.exp(score / Math.sqrt(D));
      });
      const total = powers.reduce((a, power) => a + power, 0);
      for (let i = 0; i < E; i++) {
        let sum = pairs.reduce((all, pair, index) => all + (powers[index] / total) * pair.value[i], 0);
        for (let offset = 0; offset <= Math.min(2, t); offset++) {
          sum += weight('dwconv.weight', h * K + 2 - offset) * value(t - offset)[i];
        }
        out[(h * n + t) * E + i] = sum;
      }
    }
  }
  return out;
}

describe('linformer by blocks', () => {
  it.each(lengths)('reference and graph are the definition at n = %i', async (n) => {
    const problem = draw(n);
    const expected = [definition(problem, 0), definition(problem, 1)];
    expected.forEach((wanted, b) => {
      expect(relativeToPeak(mixReference(config, referenceInput(problem, b)), wanted)).toBeLessThan(1e-10);
    });
    const whole = interleave(expected, problem.heads.heads, problem.E);
    const result = await runGraph(problem, whole);
    expect(relativeToPeak(result('out'), whole)).toBeLessThan(2e-5);
  });

  it.each([G - 1, 2 * G + 3])('gradients are those of the definition at n = %i', async (n) => {
    const problem = draw(n);
    const dout = randomLike(referenceOutput(problem), 5);
    const result = await runGraph(problem, dout);
    const projections = n < G ? [] : ['linformer_k.weight', 'linformer_v.weight'];
    for (const name of ['q', 'k', 'v', 'dwconv.weight', ...projections]) {
      const gradient = result(`d${name}`);
      expect(Math.hypot(...gradient), name).toBeGreaterThan(0.01);
      expect(differenceError(problem, dout, name, gradient), name).toBeLessThan(1e-5);
    }
  });

  it('is softmax attention where every position has a row of its own', () => {
    const n = 3 * G + 5;
    const identity = Float64Array.from({ length: G * G }, (_, i) => (i % (G + 1) === 0 ? 1 : 0));
    const whole = parseMixer({ kind: 'block-linformer', rows: G, block: G });
    const parameters = { 'linformer_k.weight': identity, 'linformer_v.weight': identity };
    const input = referenceInput(draw(n), 0);
    const parents = Int32Array.from({ length: n }, (_, position) => (position % 3 === 2 ? position - 2 : position - 1));
    for (const tree of [undefined, parents]) {
      const given = { ...input, parents: tree, parameters };
      const softmax = mixReference({ kind: 'softmax' }, given);
      expect(relativeToPeak(mixReference(whole, given), softmax)).toBeLessThan(1e-12);
    }
  });
});
