/** Linformer over whole sequences against its definition, written once more. */
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

const [r, N, K] = [3, 128, 5];
const config = parseMixer({ kind: 'linformer', rows: r, length: N, convolution: { kernel: K } });

function draw(n: number): Problem {
  return drawProblem(config, n, { heads: 4, keyValueHeads: 2, reads: 'causal' });
}

/** The definition for text `b`: [H,n,E]. */
function definition({ q, k, v, parameters, heads: { heads: H }, D, E, n }: Problem, b: number): Float64Array {
  const out = new Float64Array(H * n * E);
  const weight = (name: string, at: number): number => parameters.get(name)?.[at] ?? Number.NaN;
  const project = (name: string, row: number, x: (j: number) => number): number => {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += weight(name, row * N + j) * x(j);
    return sum;
  };
  for (let h = 0; h < H; h++) {
    const m = h < 2 ? 0 : 1;
    const value = (j: number, i: number): number => v[b][(m * n + j) * E + i];
    for (let t = 0; t < n; t++) {
      const powers = Array.from({ length: r }, (_, row) => {
        let score = 0;
        for (let i = 0; i < D; i++) {
          score += q[b][(h * n + t) * D + i] * project('linformer_k.weight', row, (j) => k[b][(m * n + j) * D + i]);
        }
        return Math.exp(score / Math.sqrt(D));
      });
      const total = powers.reduce((a, power) => a + power, 0);
      for (let i = 0; i < E; i++) {
        let sum = 0;
        powers.forEach((power, row) => {
          sum += (power / total) * project('linformer_v.weight', row, (j) => value(j, i));
        });
        for (let offset = 0; offset <= Math.min(2, t); offset++) {
          sum += weight('dwconv.weight', h * K + 2 - offset) * value(t - offset, i);
        }
        out[(h * n + t) * E + i] = sum;
      }
    }
  }
  return out;
}

describe('linformer', () => {
  it.each([1, 7, 64, 65, 127])('reference and graph are the definition at n = %i', async (n) => {
    const problem = draw(n);
    const expected = [definition(problem, 0), definition(problem, 1)];
    expected.forEach((wanted, b) => {
      expect(relativeToPeak(mixReference(config, referenceInput(problem, b)), wanted)).toBeLessThan(1e-10);
    });
    const whole = interleave(expected, problem.heads.heads, problem.E);
    const result = await runGraph(problem, whole);
    expect(relativeToPeak(result('out'), whole)).toBeLessThan(2e-5);
  });

  it('gradients are those of the definition', async () => {
    const problem = draw(9);
    const dout = randomLike(referenceOutput(problem), 5);
    const result = await runGraph(problem, dout);
    for (const name of ['q', 'k', 'v', ...problem.parameters.keys()]) {
      const gradient = result(`d${name}`);
      expect(Math.hypot(...gradient), name).toBeGreaterThan(0.01);
      expect(differenceError(problem, dout, name, gradient), name).toBeLessThan(1e-5);
    }
  });

  it('refuses sequences longer than its projections, and trees', async () => {
    const problem = draw(N + 1);
    const refused = runGraph(problem, new Float64Array(0));
    await expect(refused).rejects.toThrow(/128 positions, got/);
    const input = { ...referenceInput(draw(3), 0), parents: Int32Array.of(-1, 0, 0) };
    expect(() => mixReference(config, input)).toThrow(/not defined on trees/);
  });
});
