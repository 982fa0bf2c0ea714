/** Mixers of encoders against the oracle: outputs, gradients, padding, cross attention. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  D,
  differenceError,
  draw,
  E,
  H,
  interleave,
  M,
  naiveInput,
  naiveOutput,
  type Problem,
  randomLike,
  runGraph,
  separate,
} from '../../test/attention/bidirectional-problem.ts';
import { goldenConfig, goldenNumbers, readGolden, relativeToPeak } from '../../test/parity/golden.ts';
import { LinnetError } from '../errors.ts';
import { Graph } from '../graph/graph.ts';
import { mixBidirectional } from './bidirectional.ts';
import { type MixerInput, parseMixer } from './mixer.ts';
import { naiveMixer } from './naive.ts';
import { naiveGradients } from './naive-gradients.ts';

const G = 8;
const lengths = [1, G - 1, G, G + 1, 2 * G - 1, 3 * G + 5];
const convolution = { kernel: 5 };
const local = {};
const global = {};

const variants: Readonly<Record<string, MixerInput>> = {
  softmax: { kind: 'softmax' },
  local: { kind: 'linear', group: G, local },
  'softmax local': { kind: 'linear', group: G, local: { kernel: 'softmax' } },
  'global alone': { kind: 'linear', group: G, global: { scale: 'one' } },
  'global and convolution': { kind: 'linear', group: G, global: { scale: 'one' }, convolution },
  'convolution alone': { kind: 'linear', group: G, convolution },
  augmented: { kind: 'linear', group: G, local, global, convolution },
  'augmented, long kernel': { kind: 'linear', group: G, local, global, convolution: { kernel: 63 } },
  'augmented with λ, softmax': { kind: 'linear', group: G, local: { kernel: 'softmax', scale: 'learned' }, global },
  NORM_GLOBAL: { kind: 'linear', group: G, local, global, convolution, normalize: 'global' },
  NORM_TOGETHER: { kind: 'linear', group: G, local, global, convolution, normalize: 'together' },
  castling: { kind: 'linear', group: G, local, global, convolution, castling: true },
  'local yoso kernel': { kind: 'linear', group: G, local: { kernel: 'yoso', bits: 4 }, global },
  ungrouped: { kind: 'linear', group: 1, local, global },
  yoso: { kind: 'yoso', bits: 3, convolution },
  relu: { kind: 'features', group: G, map: { name: 'relu' }, convolution },
  transnormer: { kind: 'features', group: G, map: { name: 'elu' }, output: 'rms' },
  performer: { kind: 'features', group: G, map: { name: 'performer', features: 10, seed: 5 } },
  rfa: { kind: 'features', group: G, map: { name: 'rfa', features: 16, seed: 5 } },
  hedgehog: { kind: 'features', group: G, map: { name: 'hedgehog' } },
  'yoso, hashed': {
    kind: 'features',
    group: G,
    map: { name: 'hashes', hashes: 4, bits: 3, seed: 5 },
    output: 'unit',
  },
  linformer: { kind: 'linformer', rows: 3, length: 128, convolution },
  'linformer by blocks': { kind: 'block-linformer', rows: 3, block: G, convolution },
};

describe.each(Object.entries(variants))('%s', (_, input) => {
  const config = parseMixer(input);

  it.each(lengths)('parallel = naive at n = %i', async (n) => {
    const problem = draw(config, n);
    const expected = naiveOutput(problem);
    const dout = randomLike(expected, n);
    const result = await runGraph(problem, dout);
    expect(relativeToPeak(result('out'), expected, 0.05)).toBeLessThan(2e-5);
    if (config.kind === 'features' || config.kind === 'linformer' || config.kind === 'block-linformer') return;
    const parts = separate(dout, H, E).map((part, b) => naiveGradients(config, naiveInput(problem, b), part));
    const compare = (name: string, wanted: Float64Array): void => {
      expect(relativeToPeak(result(name), wanted, 0.05), name).toBeLessThan(2e-4);
    };
    compare(
      'dq',
      interleave(
        parts.map(({ q }) => q),
        H,
        D,
      ),
    );
    compare(
      'dk',
      interleave(
        parts.map(({ k }) => k),
        M,
        D,
      ),
    );
    compare(
      'dv',
      interleave(
        parts.map(({ v }) => v),
        M,
        E,
      ),
    );
    const total = (values: readonly (ArrayLike<number> | null)[]): Float64Array =>
      Float64Array.from(values[0] ?? [], (x, i) => x + (values[1]?.[i] ?? 0));
    const alone = (x: number | null): Float64Array | null => (x === null ? null : Float64Array.of(x));
    if (problem.parameters.has('global_factor'))
      compare('dglobal_factor', total(parts.map(({ alpha }) => alone(alpha))));
    if (problem.parameters.has('local_factor'))
      compare('dlocal_factor', total(parts.map(({ lambda }) => alone(lambda))));
    if (problem.parameters.has('dwconv.weight')) compare('ddwconv.weight', total(parts.map(({ taps }) => taps)));
  });

  it('gradients are the differences of the oracle', async () => {
    const problem = draw(config, 2 * G + 3);
    const dout = randomLike(naiveOutput(problem), 9);
    const result = await runGraph(problem, dout);
    const hashed = config.kind === 'features' && config.map.name === 'hashes';
    const surrogate = hashed || config.kind === 'yoso' || (config.kind === 'linear' && config.local?.kernel === 'yoso');
    for (const name of [...(surrogate ? [] : ['q', 'k']), 'v', ...problem.parameters.keys()]) {
      expect(differenceError(problem, dout, name, result(`d${name}`)), name).toBeLessThan(3e-4);
    }
  });

  it('padding is read by nobody, whatever stands there', async () => {
    const problem = draw(config, 2 * G + 3);
    const dout = new Float64Array(2 * problem.n * H * E);
    const changed = (part: Float64Array, b: number): Float64Array =>
      part.map((x, i) => {
        const width = part.length / M / problem.n;
        return problem.masks[b][Math.floor(i / width) % problem.n] === 1 ? x : 10 * x + 3;
      });
    const other = { ...problem, k: problem.k.map(changed), v: problem.v.map(changed) };
    const [before, after] = [await runGraph(problem, dout), await runGraph(other, dout)];
    expect(relativeToPeak(after('out'), Float64Array.from(before('out')))).toBeLessThan(1e-6);
    expect(relativeToPeak(naiveOutput(other), naiveOutput(problem))).toBe(0);
  });

  it('a text of padding alone gives finite outputs and gradients', async () => {
    const problem = { ...draw(config, G + 1), masks: [new Float64Array(G + 1), new Float64Array(G + 1)] };
    const result = await runGraph(problem, randomLike({ length: 2 * (G + 1) * H * E }, 4));
    const names = ['out', 'dq', 'dk', 'dv', ...[...problem.parameters.keys()].map((name) => `d${name}`)];
    for (const name of names) expect(result(name).every(Number.isFinite), name).toBe(true);
    expect(result('dv').every((x) => x === 0)).toBe(true);
  });
});

it('a mixer of features, and a global branch alone, do not depend on the group', async () => {
  for (const name of ['relu', 'performer', 'hedgehog', 'yoso, hashed', 'global and convolution'] as const) {
    const problem = draw(parseMixer(variants[name]), 3 * G + 5);
    const dout = new Float64Array(2 * problem.n * H * E);
    const other = { ...problem, config: parseMixer({ ...variants[name], group: 3 }) };
    const [a, b] = [await runGraph(problem, dout), await runGraph(other, dout)];
    expect(a('out'), name).toEqual(b('out'));
    expect(naiveOutput(problem), name).toEqual(naiveOutput(other));
  }
});

it('local and global together see every token once', () => {
  // With one value for all, a sum of weights of cosine 1 counts the tokens that are seen.
  const n = 2 * G + 3;
  const problem = draw(parseMixer({ kind: 'linear', group: G, local: {}, global: { scale: 'one' } }), n);
  const same = { ...problem, ...Object.fromEntries(['q', 'k', 'v'].map((name) => [name, ones(problem, name)])) };
  const tokens = problem.masks.map((mask) => mask.reduce((a, b) => a + b, 0));
  const output = naiveOutput(same);
  for (let at = 0; at < output.length; at++) {
    expect(output[at]).toBeCloseTo(tokens[at < output.length / 2 ? 0 : 1], 9);
  }
});

function ones(problem: Problem, name: string): Float64Array[] {
  const parts = name === 'q' ? problem.q : name === 'k' ? problem.k : problem.v;
  return parts.map((part) => part.map(() => 1));
}

it('a global branch alone is that of the reference code for encoders', () => {
  const shape = z.object({ heads: z.int(), head_dim: z.int(), lengths: z.array(z.int()) });
  const { heads, head_dim, lengths } = goldenConfig('linattn_t5_encoder', shape);
  const io = readGolden('linattn_t5_encoder');
  const config = parseMixer({ kind: 'linear', group: 4, global: { scale: 'one' } });
  for (const n of lengths) {
    const [q, k, v, masks] = ['q', 'k', 'v', 'key_mask'].map((name) => goldenNumbers(io, `n${n}.${name}`));
    const rows = heads * n * head_dim;
    const outputs = Array.from({ length: masks.length / n }, (_, b) => {
      const part = (all: Float64Array): Float64Array => all.slice(b * rows, (b + 1) * rows);
      const values = part(v);
      const unitValues = values.map((x, i) => {
        const start = i - (i % head_dim);
        return x / Math.hypot(...values.subarray(start, start + head_dim)); // what T5's form reads
      });
      const dims = { heads, keyValueHeads: heads, length: n, headDim: head_dim };
      const keyMask = masks.slice(b * n, (b + 1) * n);
      return naiveMixer(config, { dims, q: part(q), k: part(k), v: unitValues, keyMask });
    });
    const width = heads * head_dim;
    const joined = interleave(outputs, heads, head_dim);
    const normed = joined.map((x, i) => {
      const start = i - (i % width);
      return x / (1e-4 + Math.hypot(...joined.subarray(start, start + width)));
    });
    expect(relativeToPeak(normed, goldenNumbers(io, `n${n}.global.out`))).toBeLessThan(1e-9);
  }
});

describe('cross attention', () => {
  const crossing = ['softmax', 'global alone', 'transnormer', 'performer', 'rfa', 'hedgehog', 'yoso, hashed'] as const;
  it.each([...crossing.map((name) => [name, variants[name]] as const), ['yoso', { kind: 'yoso' }] as const])(
    '%s: other lengths of queries and keys',
    async (_, input) => {
      for (const [m, n] of [
        [1, G + 3],
        [2 * G + 3, G - 1],
      ]) {
        const problem = draw(parseMixer(input), n, m);
        const expected = naiveOutput(problem);
        const dout = randomLike(expected, 6);
        const result = await runGraph(problem, dout);
        expect(relativeToPeak(result('out'), expected, 0.05)).toBeLessThan(2e-5);
        expect(differenceError(problem, dout, 'v', result('dv'))).toBeLessThan(3e-4);
      }
    },
  );

  it.each(['local', 'augmented', 'castling', 'relu', 'convolution alone', 'linformer by blocks'])(
    '%s pairs positions: refused',
    async (name) => {
      const problem = draw(parseMixer(variants[name]), 4, 3);
      expect(() => naiveOutput(problem)).toThrow(/no cross attention/);
      await expect(runGraph(problem, new Float64Array(2 * 3 * H * E))).rejects.toThrow(/no cross attention/);
    },
  );
});

it('refuses a mask of another shape, of other numbers, and for a tree', () => {
  const problem = draw(parseMixer(variants.augmented), 4);
  const graph = new Graph('mask');
  const rows = graph.input('rows', 'float32', [1, 4, 2, D]);
  const mask = graph.input('mask', 'float32', [1, 5]);
  expect(() => mixBidirectional({ kind: 'softmax' }, { q: rows, k: rows, v: rows }, mask, {})).toThrow(/mask of keys/);
  const input = naiveInput(problem, 0);
  expect(() => naiveMixer(problem.config, { ...input, keyMask: Float64Array.of(1, 1, 0.5, 0) })).toThrow(
    /nothing else/,
  );
  expect(() => naiveMixer(problem.config, { ...input, keyMask: Float64Array.of(1) })).toThrow(LinnetError);
  expect(() => naiveMixer(problem.config, { ...input, parents: Int32Array.of(-1, 0, 1, 2) })).toThrow(/not both/);
});
