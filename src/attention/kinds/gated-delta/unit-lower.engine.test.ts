/** The triangular system of the delta rule, and the whole mixer, where keys are alike: the hardest case for float32. */
import { describe, expect, it } from 'vitest';
import {
  drawProblem,
  type Problem,
  randomLike,
  referenceOutput,
  runGraph,
} from '../../../../test/attention/mixer-problem.ts';
import { relativeToPeak } from '../../../../test/parity/golden.ts';
import { Graph } from '../../../graph/graph.ts';
import { dataOf, float32, type Tensor } from '../../../graph/tensor.ts';
import { Random } from '../../../random.ts';
import { compile } from '../../../runtime/compile.ts';
import { parseMixer } from '../../mixers.ts';
import { writeBiasName } from './config.ts';
import { inverseOfChunks } from './unit-lower.ts';

/** (I + A)⁻¹ by substitution. */
function inverseByRows(A: Float64Array, n: number): Float64Array {
  const inverse = new Float64Array(n * n);
  for (let row = 0; row < n; row++) {
    inverse[row * n + row] = 1;
    for (let j = 0; j < row; j++) {
      for (let column = 0; column <= j; column++) {
        inverse[row * n + column] -= A[row * n + j] * inverse[j * n + column];
      }
    }
  }
  return inverse;
}

describe('the inverse of I + A', () => {
  it.each([1, 2, 3, 8, 13, 16, 18, 64, 96])('of %i rows', async (n) => {
    const random = new Random(n);
    const A = Float64Array.from({ length: n * n }, () => Math.fround(0.4 * random.normal()));
    expect(relativeToPeak(await inverted(A, n), inverseByRows(A, n))).toBeLessThan(1e-5);
  });

  it('is exact where all entries are 1, and powers of A have 18 digits', async () => {
    const n = 64;
    const A = new Float64Array(n * n).fill(1);
    expect(relativeToPeak(await inverted(A, n), inverseByRows(A, n))).toBe(0);
  });
});

async function inverted(A: Float64Array, n: number): Promise<Float32Array> {
  const graph = new Graph('inverse');
  graph.output('inverse', inverseOfChunks(graph.input('A', 'float32', [1, 1, n, n])));
  await using program = await compile(graph);
  const feeds: Record<string, Tensor> = {};
  if (program.inputs.has('A')) feeds.A = float32([1, 1, n, n], A); // a single row depends on nothing
  return dataOf((await program.run(feeds, ['inverse'])).inverse, 'float32');
}

describe('texts that repeat one token', () => {
  /** Keys that are all the same but for noise. */
  function alike(problem: Problem, noise: number): Problem {
    const k = problem.k.map((rows) => rows.map((x, i) => Math.fround(rows[i % problem.D] + noise * x)));
    return { ...problem, k };
  }

  it.each([0, 0.01, 0.3])('outputs are those of the reference, noise %f', async (noise) => {
    const config = parseMixer({ kind: 'gated-delta', group: 64, decay: 'none' });
    const drawn = drawProblem(config, 200, { heads: 2, keyValueHeads: 2, reads: 'causal' });
    const parameters = new Map(drawn.parameters).set(writeBiasName, Float64Array.of(8, 8)); // β close to 1
    const problem = alike({ ...drawn, parameters }, noise);
    const expected = referenceOutput(problem);
    const result = await runGraph(problem, randomLike(expected, 1));
    expect(relativeToPeak(result('out'), expected)).toBeLessThan(1e-4);
    for (const name of ['dq', 'dk', 'dv']) expect(result(name).every(Number.isFinite), name).toBe(true);
  });
});
