import { describe, expect, it } from 'vitest';
import { relativeToPeak } from '../../test/parity/golden.ts';
import { vectorJacobian } from '../graph/gradients.ts';
import { Graph, type Value } from '../graph/graph.ts';
import { float32, type Tensor } from '../graph/tensor.ts';
import { Random } from '../random.ts';
import { compile } from '../runtime/compile.ts';
import { convolutionOf, type MixerConfig, type MixerInput, mixerParameters, parseMixer } from './mixer.ts';
import { naiveMixer, type NaiveInput } from './naive.ts';
import { naiveGradients } from './naive-gradients.ts';
import { type MixerParameterValues, mixParallel } from './parallel.ts';

const G = 8;
const lengths = [1, G - 1, G, G + 1, 2 * G - 1, 3 * G + 5];
const local = {};
const global = {};
const convolution = { kernel: 9 };

const variants: Readonly<Record<string, MixerInput>> = {
  softmax: { kind: 'softmax' },
  local: { kind: 'linear', group: G, local },
  'softmax local': { kind: 'linear', group: G, local: { kernel: 'softmax' } },
  global: { kind: 'linear', group: G, global: { scale: 'one' } },
  'local + global': { kind: 'linear', group: G, local, global },
  'local + convolution': { kind: 'linear', group: G, local, convolution },
  'convolution alone': { kind: 'linear', group: G, convolution },
  augmented: { kind: 'linear', group: G, local, global, convolution },
  'augmented, long kernel': { kind: 'linear', group: G, local, global, convolution: { kernel: 63 } },
  'augmented, softmax local kernel': { kind: 'linear', group: G, local: { kernel: 'softmax' }, global, convolution },
  'augmented with λ': { kind: 'linear', group: G, local: { scale: 'learned' }, global, convolution },
  'augmented, NORM_GLOBAL': { kind: 'linear', group: G, local, global, convolution, normalize: 'global' },
  'augmented, NORM_TOGETHER': { kind: 'linear', group: G, local, global, convolution, normalize: 'together' },
  castling: { kind: 'linear', group: G, local, global, convolution, castling: true },
  yoso: { kind: 'yoso', bits: 3 },
  'yoso with a convolution': { kind: 'yoso', convolution },
  'local yoso kernel': { kind: 'linear', group: G, local: { kernel: 'yoso', bits: 4 }, global, convolution },
  'unmasked convolution': { kind: 'linear', group: G, local, global, convolution: { kernel: 9, masked: false } },
  ungrouped: { kind: 'linear', group: 1, local, global },
  'long groups': { kind: 'linear', group: 128, local, global, convolution: { kernel: 63 } },
};

const B = 2;
const D = 8;

interface Heads {
  readonly heads: number;
  readonly keyValueHeads: number;
}

/** One random problem per sequence of the batch, sharing the parameters. */
function randomProblem(config: MixerConfig, { heads: H, keyValueHeads: M }: Heads, n: number): NaiveInput[] {
  const random = new Random(1000 * n + H);
  const normals = (count: number): Float64Array =>
    Float64Array.from({ length: count }, () => Math.fround(random.normal()));
  const filter = convolutionOf(config);
  const taps = filter === null ? undefined : normals(H * filter.kernel);
  const alpha = Math.fround(0.6);
  const lambda = Math.fround(1.3);
  return Array.from({ length: B }, () => ({
    dims: { heads: H, keyValueHeads: M, length: n, headDim: D },
    q: normals(H * n * D),
    k: normals(M * n * D),
    v: normals(M * n * D),
    alpha,
    lambda,
    taps,
  }));
}

/** [heads,n,D] per sequence → [B,n,heads,D], and back. */
function interleave(parts: readonly Float64Array[], heads: number, n: number): Tensor {
  const data = new Float32Array(parts.length * n * heads * D);
  parts.forEach((part, b) => {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < n; t++)
        data.set(part.subarray((h * n + t) * D, (h * n + t + 1) * D), ((b * n + t) * heads + h) * D);
    }
  });
  return float32([parts.length, n, heads, D], data);
}

function join(arrays: readonly ArrayLike<number>[]): Float64Array {
  return Float64Array.from(arrays.flatMap((array) => Array.from(array)));
}

async function runParallel(
  config: MixerConfig,
  heads: Heads,
  problems: readonly NaiveInput[],
  dout: readonly Float64Array[],
) {
  const { heads: H, keyValueHeads: M } = heads;
  const n = problems[0].dims.length;
  const graph = new Graph('mixer');
  const q = graph.input('q', 'float32', [B, n, H, D]);
  const k = graph.input('k', 'float32', [B, n, M, D]);
  const v = graph.input('v', 'float32', [B, n, M, D]);
  const declared = mixerParameters(config, { ...heads, headWidth: D });
  const parameters: Partial<Record<keyof MixerParameterValues, Value>> = {};
  for (const { name, shape } of declared) parameters[name] = graph.input(name, 'float32', shape);
  const output = mixParallel(config, { q, k, v }, parameters);
  const wanted = [q, k, v, ...Object.values(parameters)];
  const gradients = vectorJacobian([output], [graph.input('dout', 'float32', [B, n, H, D])], wanted);
  graph.output('out', output);
  const names = ['q', 'k', 'v', ...declared.map(({ name }) => name)];
  gradients.forEach((gradient, i) => {
    graph.output(`d${names[i]}`, gradient);
  });
  const program = await compile(graph);
  const [first] = problems;
  const all: Record<string, Tensor> = {
    q: interleave(
      problems.map((problem) => problem.q),
      H,
      n,
    ),
    k: interleave(
      problems.map((problem) => problem.k),
      M,
      n,
    ),
    v: interleave(
      problems.map((problem) => problem.v),
      M,
      n,
    ),
    dout: interleave(dout, H, n),
    global_factor: float32([1], [first.alpha ?? 1]),
    local_factor: float32([1], [first.lambda ?? 1]),
    'dwconv.weight': float32([H, 1, (first.taps?.length ?? 0) / H, 1], first.taps ?? []),
  };
  const feeds = Object.fromEntries(Object.entries(all).filter(([name]) => program.inputs.has(name)));
  const results = await program.run(feeds, ['out', ...names.map((name) => `d${name}`)]);
  await program.dispose();
  return results;
}

describe.each([
  { heads: 2, keyValueHeads: 2 },
  { heads: 4, keyValueHeads: 2 },
])('parallel = naive with $heads query and $keyValueHeads key-value heads', (heads) => {
  it.each(Object.entries(variants))('%s', async (_name, input) => {
    const config = parseMixer(input);
    for (const n of lengths) {
      const problems = randomProblem(config, heads, n);
      const random = new Random(n);
      const dout = problems.map(({ q }) => q.map(() => Math.fround(random.normal())));
      const results = await runParallel(config, heads, problems, dout);
      const expected = problems.map((problem, b) => naiveGradients(config, problem, dout[b]));
      const compare = (name: string, expectedValues: ArrayLike<number> | Tensor, tolerance: number): void => {
        const wanted = 'data' in expectedValues ? Array.from(expectedValues.data, Number) : expectedValues;
        const actual = Float64Array.from(results[name].data, Number);
        // Upstream gradients are standard normal. Where all of a gradient cancels (a normalised output at n = 1 does not
        // depend on its query), what is left is rounding, measured against 0.05 instead of its own peak.
        expect(relativeToPeak(actual, Float64Array.from(wanted), 0.05), `${name} at n = ${n}`).toBeLessThan(tolerance);
      };
      compare(
        'out',
        interleave(
          problems.map((problem) => naiveMixer(config, problem)),
          heads.heads,
          n,
        ),
        2e-5,
      );
      compare(
        'dq',
        interleave(
          expected.map((g) => g.q),
          heads.heads,
          n,
        ),
        2e-4,
      );
      compare(
        'dk',
        interleave(
          expected.map((g) => g.k),
          heads.keyValueHeads,
          n,
        ),
        2e-4,
      );
      compare(
        'dv',
        interleave(
          expected.map((g) => g.v),
          heads.keyValueHeads,
          n,
        ),
        2e-4,
      );
      const total = (pick: (index: number) => number | null): number[] => [
        expected.reduce((sum, _, b) => sum + (pick(b) ?? 0), 0),
      ];
      if ('dglobal_factor' in results)
        compare(
          'dglobal_factor',
          total((b) => expected[b].alpha),
          2e-4,
        );
      if ('dlocal_factor' in results)
        compare(
          'dlocal_factor',
          total((b) => expected[b].lambda),
          2e-4,
        );
      if ('ddwconv.weight' in results) {
        const perSequence = expected.map((g) => g.taps ?? new Float64Array(0));
        compare(
          'ddwconv.weight',
          perSequence[0].map((_, i) => perSequence.reduce((sum, taps) => sum + taps[i], 0)),
          2e-4,
        );
      }
    }
  });
});

describe('padding', () => {
  it('at the end of a shorter sequence does not change its outputs', async () => {
    const config = parseMixer(variants.augmented);
    const heads = { heads: 2, keyValueHeads: 2 };
    const problems = randomProblem(config, heads, 3 * G + 5);
    const zero = problems.map(({ q }) => q.map(() => 0));
    const short = 2 * G + 3;
    const before = await runParallel(config, heads, problems, zero);
    const padded = problems.map((problem) => {
      const blank = (rows: Float64Array): Float64Array =>
        rows.map((x, i) => (Math.floor(i / D) % (3 * G + 5) < short ? x : 0));
      return { ...problem, q: blank(problem.q), k: blank(problem.k), v: blank(problem.v) };
    });
    const after = await runParallel(config, heads, padded, zero);
    const rows = (values: Tensor): Float64Array =>
      join(
        Array.from({ length: B }, (_, b) =>
          Array.from(values.data, Number).slice(b * (3 * G + 5) * 2 * D, (b * (3 * G + 5) + short) * 2 * D),
        ),
      );
    expect(relativeToPeak(rows(after.out), rows(before.out))).toBeLessThan(1e-6);
    expect(Array.from(after.out.data, Number).every(Number.isFinite)).toBe(true);
  });
});

describe('parameters', () => {
  it.each(['global_factor', 'dwconv.weight'] as const)('a mixer without its %s is refused by name', (missing) => {
    const config = parseMixer(variants.augmented);
    const graph = new Graph('mixer');
    const q = graph.input('q', 'float32', [1, 4, 2, D]);
    const all = Object.fromEntries(
      mixerParameters(config, { heads: 2, keyValueHeads: 2, headWidth: D }).map(({ name, shape }) => [
        name,
        graph.input(name, 'float32', shape),
      ]),
    );
    expect(() => mixParallel(config, { q, k: q, v: q }, { ...all, [missing]: undefined })).toThrow(missing);
  });
});
