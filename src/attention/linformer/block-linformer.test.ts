/** Linformer by blocks against its definition, written once more, and against softmax, which it is with r = G. */
import { describe, expect, it } from 'vitest';
import { relativeToPeak } from '../../../test/parity/golden.ts';
import { D, H, headsFirst, K, LinformerProblem, M, type Numbers } from '../../../test/attention/linformer-problem.ts';
import { dataOf } from '../../graph/tensor.ts';
import { type MixerConfig, parseMixer } from '../mixer.ts';
import { naiveMixer } from '../naive.ts';

const E = 3;
const [G, r] = [8, 3];
const lengths = [1, G - 1, G, G + 1, 2 * G - 1, 3 * G + 5];
const config = parseMixer({ kind: 'block-linformer', rows: r, block: G, convolution: { kernel: K } });
const problem = new LinformerProblem(config, { E, rows: r, columns: G, spread: 0.5 });

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

describe('linformer by blocks', () => {
  it.each(lengths)('naive and parallel forms are the definition at n = %i', async (n) => {
    const x = problem.draw(n);
    const expected = definition(x, n);
    expect(relativeToPeak(naiveMixer(config, problem.naiveInput(x, n)), headsFirst(expected, n, H))).toBeLessThan(
      1e-10,
    );
    const { out } = await problem.parallel(x, n, expected);
    expect(relativeToPeak(dataOf(out, 'float32'), expected)).toBeLessThan(2e-5);
  });

  it.each([G - 1, 2 * G + 3])('gradients are those of the definition at n = %i', async (n) => {
    const projected = n < G ? [] : (['e', 'f'] as const);
    await problem.expectGradients(n, definition, ['q', 'k', 'v', 'taps', ...projected]);
  });

  it('is softmax attention where every position has a row of its own', () => {
    const n = 3 * G + 5;
    const identity = Float64Array.from({ length: G * G }, (_, i) => (i % (G + 1) === 0 ? 1 : 0));
    const whole: MixerConfig = parseMixer({ kind: 'block-linformer', rows: G, block: G });
    const input = problem.naiveInput(problem.draw(n), n);
    const parents = Int32Array.from({ length: n }, (_, position) => (position % 3 === 2 ? position - 2 : position - 1));
    for (const tree of [undefined, parents]) {
      const given = { ...input, parents: tree, projections: { keys: identity, values: identity } };
      expect(relativeToPeak(naiveMixer(whole, given), naiveMixer({ kind: 'softmax' }, given))).toBeLessThan(1e-12);
    }
  });
});
