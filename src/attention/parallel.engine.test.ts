/** The parallel form of every kind against its reference: outputs and gradients. */
import { afterAll, describe, expect, it } from 'vitest';
import { G, mixerExamples } from '../../test/attention/mixer-examples.ts';
import {
  differenceError,
  drawProblem,
  handDerivedGradients,
  ProblemGraphs,
  randomLike,
  referenceOutput,
} from '../../test/attention/mixer-problem.ts';
import { relativeToPeak } from '../../test/parity/golden.ts';
import { Graph } from '../graph/graph.ts';
import { hasSurrogateGradient, mixerParameters, mixParallel, parseMixer } from './mixers.ts';

const lengths = [1, G - 1, G, G + 1, 2 * G - 1, 3 * G + 5];

const heads = [
  { heads: 2, keyValueHeads: 2 },
  { heads: 4, keyValueHeads: 2 },
] as const;

describe.each(mixerExamples)('$name', ({ config, kind, name: example }) => {
  const graphs = new ProblemGraphs();
  afterAll(() => graphs.dispose());

  it.each(heads)('parallel = reference with $heads query and $keyValueHeads key-value heads', async (sizes) => {
    for (const n of lengths) {
      const problem = drawProblem(config, n, { ...sizes, reads: 'causal' });
      const expected = referenceOutput(problem);
      const dout = randomLike(expected, n);
      const result = await graphs.run(problem, dout);
      // Upstream gradients are standard normal. Where all of a gradient cancels (a normalized output at n = 1 does not
      // depend on its query), what is left is rounding, measured against 0.05 instead of its own peak.
      expect(relativeToPeak(result('out'), expected, 0.05), `out at n = ${n}`).toBeLessThan(2e-5);
      const gradients = handDerivedGradients(problem, dout);
      if (gradients !== undefined) {
        for (const [name, wanted] of Object.entries(gradients)) {
          expect(relativeToPeak(result(name), wanted, 0.05), `${name} at n = ${n}`).toBeLessThan(2e-4);
        }
        continue;
      }
      const smooth = hasSurrogateGradient(config) ? ['v'] : ['q', 'k', 'v'];
      for (const name of [...smooth, ...problem.parameters.keys()]) {
        const error = differenceError(problem, dout, name, result(`d${name}`));
        expect(error, `d${name} at n = ${n}`).toBeLessThan(3e-4);
      }
    }
  });

  if (kind.readsFuture === true || kind.recurrent === undefined || example === 'unmasked convolution') return;
  it('padding at the end of a shorter sequence does not change its outputs', async () => {
    const n = 3 * G + 5;
    const short = 2 * G + 3;
    const problem = drawProblem(config, n, { ...heads[0], reads: 'causal' });
    const zero = new Float64Array(referenceOutput(problem).length);
    const before = await graphs.run(problem, zero);
    const blank = (rows: Float64Array, width: number): Float64Array =>
      rows.map((x, i) => (Math.floor(i / width) % n < short ? x : 0));
    const padded = {
      ...problem,
      q: problem.q.map((rows) => blank(rows, problem.D)),
      k: problem.k.map((rows) => blank(rows, problem.D)),
      v: problem.v.map((rows) => blank(rows, problem.E)),
    };
    const after = await graphs.run(padded, zero);
    const kept = (values: Float32Array): Float32Array =>
      values.filter((_, i) => Math.floor(i / (problem.heads.heads * problem.E)) % n < short);
    expect(relativeToPeak(kept(after('out')), kept(before('out')))).toBeLessThan(1e-6);
    expect(after('out').every(Number.isFinite)).toBe(true);
  });
});

describe('parameters', () => {
  it.each(['global_factor', 'dwconv.weight'] as const)('a mixer without its %s is refused by name', (missing) => {
    const config = parseMixer({ kind: 'linear', group: G, local: {}, global: {}, convolution: { kernel: 9 } });
    const graph = new Graph('mixer');
    const q = graph.input('q', 'float32', [1, 4, 2, 8]);
    const all = Object.fromEntries(
      mixerParameters(config, { heads: 2, keyValueHeads: 2, headWidth: 8 }).map(({ name, shape }) => [
        name,
        graph.input(name, 'float32', shape),
      ]),
    );
    expect(() => mixParallel(config, { q, k: q, v: q }, { ...all, [missing]: undefined })).toThrow(missing);
  });
});
