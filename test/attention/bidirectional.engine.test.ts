/** The forms for whole texts, of encoders and between two texts, against the references: outputs, gradients, padding. */
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { groupMeanKind } from './group-mean.ts';
import { examplesWith, G, mixerExamples } from './mixer-examples.ts';
import {
  differenceError,
  drawProblem,
  handDerivedGradients,
  interleave,
  type Problem,
  ProblemGraphs,
  randomLike,
  referenceInput,
  referenceOutput,
  runGraph,
} from './mixer-problem.ts';
import { goldenConfig, goldenNumbers, readGolden, relativeToPeak } from '../parity/golden.ts';
import { LinnetError } from '../../src/errors.ts';
import { Graph } from '../../src/graph/graph.ts';
import { registerMixer } from '../../src/attention/kinds/index.ts';
import { t5LinearSchema } from '../../src/attention/kinds/t5-linear/forms.ts';
import type { MixerConfig } from '../../src/attention/mixer.ts';
import { hasSurrogateGradient, mixBidirectional, mixReference, parseMixer } from '../../src/attention/mixers.ts';

const lengths = [1, G - 1, G, G + 1, 2 * G - 1, 3 * G + 5];
const heads = { heads: 4, keyValueHeads: 2 };

function draw(config: MixerConfig, n: number, queries = n): Problem {
  return drawProblem(config, n, { ...heads, reads: 'whole', queries });
}

/** Kinds that read the past alone have no such form. */
const whole = examplesWith('bidirectional');

describe.each(whole)('$name', ({ config }) => {
  const graphs = new ProblemGraphs();
  afterAll(() => graphs.dispose());

  it.each(lengths)('graph = reference at n = %i', async (n) => {
    const problem = draw(config, n);
    const expected = referenceOutput(problem);
    const dout = randomLike(expected, n);
    const result = await graphs.run(problem, dout);
    expect(relativeToPeak(result('out'), expected, 0.05)).toBeLessThan(2e-5);
    for (const [name, wanted] of Object.entries(handDerivedGradients(problem, dout) ?? {})) {
      expect(relativeToPeak(result(name), wanted, 0.05), name).toBeLessThan(2e-4);
    }
  });

  it('gradients are the differences of the reference', async () => {
    const problem = draw(config, 2 * G + 3);
    const dout = randomLike(referenceOutput(problem), 9);
    const result = await graphs.run(problem, dout);
    const smooth = hasSurrogateGradient(config) ? ['v'] : ['q', 'k', 'v'];
    for (const name of [...smooth, ...problem.parameters.keys()]) {
      expect(differenceError(problem, dout, name, result(`d${name}`)), name).toBeLessThan(3e-4);
    }
  });

  it('padding is read by nobody, whatever it holds', async () => {
    const problem = draw(config, 2 * G + 3);
    const dout = new Float64Array(referenceOutput(problem).length);
    const changed = (part: Float64Array, b: number): Float64Array =>
      part.map((x, i) => {
        const width = part.length / heads.keyValueHeads / problem.n;
        return problem.masks?.[b][Math.floor(i / width) % problem.n] === 1 ? x : 10 * x + 3;
      });
    const other = { ...problem, k: problem.k.map(changed), v: problem.v.map(changed) };
    const [before, after] = [await graphs.run(problem, dout), await graphs.run(other, dout)];
    expect(relativeToPeak(after('out'), Float64Array.from(before('out')))).toBeLessThan(1e-6);
    expect(relativeToPeak(referenceOutput(other), referenceOutput(problem))).toBe(0);
  });

  it('a text of padding alone gives finite outputs and gradients', async () => {
    const problem = { ...draw(config, G + 1), masks: [new Float64Array(G + 1), new Float64Array(G + 1)] };
    const result = await graphs.run(problem, randomLike({ length: 2 * (G + 1) * heads.heads * problem.E }, 4));
    const names = ['out', 'dq', 'dk', 'dv', ...[...problem.parameters.keys()].map((name) => `d${name}`)];
    for (const name of names) expect(result(name).every(Number.isFinite), name).toBe(true);
    expect(result('dv').every((x) => x === 0)).toBe(true);
  });
});

it('a kind that reads the past alone is refused', async () => {
  using _ = registerMixer(groupMeanKind);
  const problem = draw(parseMixer({ kind: 'group-mean' }), 3);
  await expect(runGraph(problem, new Float64Array(0))).rejects.toThrow(/no form for encoders/);
});

it('a mixer of features, and a global branch alone, do not depend on the group', async () => {
  const ungrouped = ['relu', 'performer', 'hedgehog', 'yoso, hashed', 'global + convolution'];
  const examples = mixerExamples.filter(({ name }) => ungrouped.includes(name));
  expect(examples).toHaveLength(ungrouped.length);
  for (const { name, config } of examples) {
    const problem = draw(config, 3 * G + 5);
    const dout = new Float64Array(referenceOutput(problem).length);
    const other = { ...problem, config: parseMixer({ ...config, group: 3 }) };
    const [a, b] = [await runGraph(problem, dout), await runGraph(other, dout)];
    expect(a('out'), name).toEqual(b('out'));
    expect(referenceOutput(problem), name).toEqual(referenceOutput(other));
  }
});

it('local and global together see every token once', () => {
  // With one value for all, a sum of weights of cosine 1 counts the tokens that are seen.
  const n = 2 * G + 3;
  const problem = draw(parseMixer({ kind: 'linear', group: G, local: {}, global: { scale: 'one' } }), n);
  const same = { ...problem, ...Object.fromEntries(['q', 'k', 'v'].map((name) => [name, ones(problem, name)])) };
  const tokens = (problem.masks ?? []).map((mask) => mask.reduce((a, b) => a + b, 0));
  const output = referenceOutput(same);
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
      const dims = { heads, keyValueHeads: heads, length: n, headWidth: head_dim };
      const keyMask = masks.slice(b * n, (b + 1) * n);
      return mixReference(config, { dims, q: part(q), k: part(k), v: unitValues, keyMask });
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
  // The paper's T5 also pairs groups of two texts of equal length, which are of no use here.
  const able = examplesWith('cross');
  const names = new Set(able.map(({ name }) => name));

  it('is there in every kind that has it', () => {
    const kinds = new Set(able.map(({ kind }) => kind.kind));
    expect([...kinds]).toEqual(['softmax', 'linear', 'features', 'linformer', 'yoso', 't5-linear']);
  });

  it.each(able)('$name: other lengths of queries and keys', async ({ config }) => {
    const t5 = t5LinearSchema.safeParse(config);
    const pairsGroups = t5.success && t5.data.local !== null;
    const lengths = pairsGroups
      ? [[G + 3, G + 3]]
      : [
          [1, G + 3],
          [2 * G + 3, G - 1],
        ];
    for (const [m, n] of lengths) {
      const problem = draw(config, n, m);
      const expected = referenceOutput(problem);
      const dout = randomLike(expected, 6);
      const result = await runGraph(problem, dout);
      expect(relativeToPeak(result('out'), expected, 0.05)).toBeLessThan(2e-5);
      expect(differenceError(problem, dout, 'v', result('dv'))).toBeLessThan(3e-4);
    }
  });

  const pairing = mixerExamples.filter(({ kind, name }) => kind.kind !== 't5-linear' && !names.has(name));
  it.each(pairing)('$name pairs positions: refused', async ({ config }) => {
    const problem = draw(config, 4, 3);
    expect(() => referenceOutput(problem)).toThrow(/no cross attention/);
    await expect(runGraph(problem, new Float64Array(0))).rejects.toThrow(/no cross attention/);
  });
});

it('refuses a mask of another shape, of other numbers, and for a tree', () => {
  const problem = draw(parseMixer({ kind: 'linear', group: G, local: {}, global: {}, convolution: { kernel: 9 } }), 4);
  const graph = new Graph('mask');
  const rows = graph.input('rows', 'float32', [1, 4, 2, 6]);
  const mask = graph.input('mask', 'float32', [1, 5]);
  expect(() => mixBidirectional({ kind: 'softmax' }, { q: rows, k: rows, v: rows }, mask, {})).toThrow(/mask of keys/);
  const input = referenceInput(problem, 0);
  expect(() => mixReference(problem.config, { ...input, keyMask: Float64Array.of(1, 1, 0.5, 0) })).toThrow(
    /nothing else/,
  );
  expect(() => mixReference(problem.config, { ...input, keyMask: Float64Array.of(1) })).toThrow(LinnetError);
  expect(() => mixReference(problem.config, { ...input, parents: Int32Array.of(-1, 0, 1, 2) })).toThrow(/not both/);
});
