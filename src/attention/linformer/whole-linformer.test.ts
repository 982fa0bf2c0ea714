/** Linformer over whole sequences against its definition, written once more. */
import { describe, expect, it } from 'vitest';
import { relativeToPeak } from '../../../test/parity/golden.ts';
import { D, H, headsFirst, K, LinformerProblem, M, type Numbers } from '../../../test/attention/linformer-problem.ts';
import { dataOf } from '../../graph/tensor.ts';
import { parseMixer } from '../mixer.ts';
import { naiveMixer } from '../naive.ts';

const r = 3;
const N = 128;
const config = parseMixer({ kind: 'linformer', rows: r, length: N, convolution: { kernel: K } });
const problem = new LinformerProblem(config, { E: D, rows: r, columns: N, spread: 0.3 });

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

describe('linformer', () => {
  it.each([1, 7, 64, 65, 127])('naive and parallel forms are the definition at n = %i', async (n) => {
    const x = problem.draw(n);
    const expected = definition(x, n);
    const naive = naiveMixer(config, problem.naiveInput(x, n));
    expect(relativeToPeak(naive, headsFirst(expected, n, H))).toBeLessThan(1e-10);
    const { out } = await problem.parallel(x, n, expected);
    expect(relativeToPeak(dataOf(out, 'float32'), expected)).toBeLessThan(2e-5);
  });

  it('gradients are those of the definition', async () => {
    await problem.expectGradients(9, definition, ['q', 'k', 'v', 'e', 'f', 'taps']);
  });

  it('refuses sequences longer than its projections, and trees', async () => {
    const n = N + 1;
    const refused = problem.parallel(problem.draw(n), n, new Float64Array(n * H * D));
    await expect(refused).rejects.toThrow(/128 positions, got/);
    const input = { ...problem.naiveInput(problem.draw(3), 3), parents: Int32Array.of(-1, 0, 0) };
    expect(() => naiveMixer(config, input)).toThrow(/not defined on trees/);
  });
});
