/** The references against golden numbers, their gradients against differences, and what positions see by them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { mixerExamples } from './mixer-examples.ts';
import { goldenConfig, goldenNumbers, goldenTensor, readGolden, relativeToPeak } from '../parity/golden.ts';
import { goldenTree, goldenTrees } from '../parity/golden-trees.ts';
import { LinnetError } from '../../src/errors.ts';
import { Random } from '../../src/random.ts';
import type { AttentionDims, MixerConfig } from '../../src/attention/mixer.ts';
import {
  isCausal,
  mixerDims,
  mixerParameters,
  mixReference,
  parseMixer,
  rowWidth,
} from '../../src/attention/mixers.ts';
import { mixerPreset } from '../../src/attention/presets.ts';
import type { ReferenceInput } from '../../src/attention/reference.ts';
import { handDerived } from './linear-gradients.ts';

const functionCase = z.object({
  group_size: z.int(),
  q_heads: z.int(),
  kv_heads: z.int(),
  head_dim: z.int(),
  batch: z.int(),
  variants: z.array(
    z.object({
      n: z.int(),
      local: z.enum(['relu2', 'softmax']).nullable(),
      use_global: z.boolean(),
      conv: z.int().nullable(),
      prefix: z.string(),
    }),
  ),
});

describe('the golden attention functions', () => {
  it.each(['linattn_causal_g4', 'linattn_causal_g64', 'linattn_gqa'])('%s: outputs and gradients', (name) => {
    const { group_size, q_heads, kv_heads, head_dim, batch, variants } = goldenConfig(name, functionCase);
    const io = readGolden(name);
    expect(variants.length).toBeGreaterThan(10);
    for (const { n, local, use_global, conv, prefix } of variants) {
      const config = parseMixer({
        kind: 'linear',
        group: group_size,
        local: local === null ? null : { kernel: local },
        global: use_global ? {} : null,
        convolution: conv === null ? null : { kernel: conv },
      });
      const dims = { heads: q_heads, keyValueHeads: kv_heads, length: n, headWidth: head_dim };
      const sequence = (key: string, b: number): Float64Array => {
        const all = goldenNumbers(io, `n${n}.${key}`);
        return all.slice((b * all.length) / batch, ((b + 1) * all.length) / batch);
      };
      const out: number[] = [];
      const dq: number[] = [];
      const dk: number[] = [];
      const dv: number[] = [];
      let dalpha = 0;
      const dconv = new Float64Array(q_heads * (conv ?? 0));
      const names = mixerParameters(config, dims).map((parameter) => parameter.name);
      const parameters: Record<string, Float64Array> = {
        ...(use_global && { global_factor: goldenNumbers(io, 'alpha') }),
        ...(conv !== null && { 'dwconv.weight': goldenNumbers(io, `conv${conv}`) }),
      };
      expect(Object.keys(parameters)).toEqual(names);
      for (let b = 0; b < batch; b++) {
        const input = { dims, q: sequence('q', b), k: sequence('k', b), v: sequence('v', b), parameters };
        out.push(...mixReference(config, input));
        const gradients = handDerived(config, input, sequence('dout', b));
        if (gradients === undefined) throw new Error('the linear kind has gradients that were derived by hand');
        dq.push(...gradients.q);
        dk.push(...gradients.k);
        dv.push(...gradients.v);
        expect(Object.keys(gradients.parameters)).toEqual(names);
        if (use_global) dalpha += gradients.parameters.global_factor[0];
        if (conv === null) continue;
        gradients.parameters['dwconv.weight'].forEach((value, i) => {
          dconv[i] += value;
        });
      }
      const tolerance = goldenTensor(io, `${prefix}.out`).dtype === 'F64' ? 1e-10 : 2e-6;
      const check = (key: string, actual: ArrayLike<number>): void => {
        expect(relativeToPeak(actual, goldenNumbers(io, `${prefix}.${key}`)), `${prefix}.${key}`).toBeLessThan(
          tolerance,
        );
      };
      check('out', out);
      check('dq', dq);
      check('dk', dk);
      check('dv', dv);
      if (use_global) check('dalpha', [dalpha]);
      if (conv !== null) check('dconv', dconv);
    }
  });
});

/** Rows of [heads, any, d]: the first `count` of `before`, then all of `after`, head by head. */
function joinRows(before: Float64Array, after: Float64Array, heads: number, count: number, d: number): Float64Array {
  const joined: number[] = [];
  for (let head = 0; head < heads; head++) {
    const start = (head * before.length) / heads;
    joined.push(...before.subarray(start, start + count * d));
    joined.push(...after.subarray((head * after.length) / heads, ((head + 1) * after.length) / heads));
  }
  return Float64Array.from(joined);
}

describe('the golden trees', () => {
  it.each(goldenTrees)('%s: a prefix with a tree behind it is one bigger tree', (name) => {
    const { group_size, q_heads, kv_heads, head_dim, nodes, variants } = goldenTree(name);
    const io = readGolden(name);
    const treeParents = goldenNumbers(io, 'parents');
    expect(variants.length).toBeGreaterThan(10);
    for (const { prefix_length, conv, key } of variants) {
      const joined = (part: string, heads: number): Float64Array =>
        joinRows(
          goldenNumbers(io, `prefix.${part}`),
          goldenNumbers(io, `tree.${part}`),
          heads,
          prefix_length,
          head_dim,
        );
      const length = prefix_length + nodes;
      const parents = Int32Array.from({ length }, (_, position) => {
        if (position < prefix_length) return position - 1;
        // A root continues the last position of the prefix (−1 where there is none).
        const parent = treeParents[position - prefix_length];
        return prefix_length + parent;
      });
      const out = mixReference(mixerPreset('augmented', { group: group_size, kernel: conv, fade: 1 }), {
        dims: { heads: q_heads, keyValueHeads: kv_heads, length, headWidth: head_dim },
        q: joined('q', q_heads),
        k: joined('k', kv_heads),
        v: joined('v', kv_heads),
        parameters: {
          global_factor: goldenNumbers(io, 'alpha'),
          'dwconv.weight': goldenNumbers(io, `conv${conv}`),
        },
        parents,
      });
      const ofTree = joinRows(new Float64Array(0), out, q_heads, 0, head_dim).filter(
        (_, i) => Math.floor(i / head_dim) % length >= prefix_length,
      );
      expect(relativeToPeak(ofTree, goldenNumbers(io, key)), key).toBeLessThan(1e-10);
    }
  });
});

const linear = (fields: object): MixerConfig => parseMixer({ kind: 'linear', group: 3, ...fields });
const variants: Readonly<Record<string, MixerConfig>> = {
  softmax: mixerPreset('softmax'),
  local: linear({ local: {} }),
  'global, constant scale': linear({ global: { scale: 'one' } }),
  'convolution alone': linear({ convolution: { kernel: 5 } }),
  'λ·local softmax + α·global + convolution': linear({
    local: { kernel: 'softmax', scale: 'learned' },
    global: {},
    convolution: { kernel: 5 },
  }),
  'λ·local relu² + α·normalized global': linear({ local: { scale: 'learned' }, global: {}, normalize: 'global' }),
  'λ·normalized local relu² + α·global': linear({ local: { scale: 'learned' }, global: {}, normalize: 'local' }),
  'normalized together': linear({ local: { scale: 'learned' }, global: {}, normalize: 'together' }),
  castling: linear({ local: {}, global: {}, convolution: { kernel: 3 }, castling: true }),
  'normalized castling': linear({
    local: { scale: 'learned' },
    global: {},
    convolution: { kernel: 3 },
    castling: true,
    normalize: 'together',
  }),
  'unmasked convolution': linear({ local: {}, convolution: { kernel: 5, masked: false } }),
};

/** Everything that a reference can mix: these, in groups of 3, and the examples of all kinds. */
const everything: readonly (readonly [string, MixerConfig])[] = [
  ...Object.entries(variants),
  ...mixerExamples.map(({ name, config }) => [`example: ${name}`, config] as const),
];
const causal = everything.filter(([, config]) => isCausal(config));

/** Positions of random inputs: the examples have groups of up to 8. */
const n = 13;
const E = 2;

function randomInput(config: MixerConfig, seed: number, parents?: Int32Array): ReferenceInput {
  const random = new Random(seed);
  const numbers = (count: number): Float64Array => Float64Array.from({ length: count }, () => 2 * random.uniform() - 1);
  // As many channels as make values of width E.
  const given = mixerDims(config, { heads: 4, keyValueHeads: 2, headWidth: 3, valueWidth: E, width: 2 * E });
  const D = rowWidth(config, given.headWidth);
  const dims = { ...given, length: parents?.length ?? n, headWidth: D };
  return {
    dims,
    q: numbers(dims.heads * dims.length * D),
    k: numbers(dims.keyValueHeads * dims.length * D),
    v: numbers(dims.keyValueHeads * dims.length * valueWidthOf(dims)),
    parameters: Object.fromEntries(
      mixerParameters(config, dims).map(({ name, shape }) => [name, numbers(shape.reduce((a, b) => a * b, 1))]),
    ),
    parents,
  };
}

/** E of a layer: some kinds have their own. */
function valueWidthOf({ headWidth, valueWidth = headWidth }: Pick<AttentionDims, 'headWidth' | 'valueWidth'>): number {
  return valueWidth;
}

function weighted(config: MixerConfig, input: ReferenceInput, dout: Float64Array): number {
  return mixReference(config, input).reduce((sum, value, i) => sum + value * dout[i], 0);
}

/** Two forks; depths 0 to 9, so that groups of 3 and of 8 are crossed. */
const forked = Int32Array.of(-1, 0, 1, 2, 1, 4, 5, 3, 6, 8, 9, 10, 11);

describe('gradients against central differences', () => {
  const cases = Object.entries(variants).flatMap(([name, config]) => {
    const chainCase = { name: `${name}, chain`, config, parents: undefined };
    return isCausal(config) ? [chainCase, { name: `${name}, tree`, config, parents: forked }] : [chainCase];
  });

  it.each(cases)('$name', ({ config, parents }) => {
    const input = randomInput(config, 5, parents);
    const random = new Random(6);
    const dout = Float64Array.from({ length: 4 * n * E }, () => 2 * random.uniform() - 1);
    const gradients = handDerived(config, input, dout);
    const check = (name: string, values: Float64Array, moved: (values: Float64Array) => ReferenceInput): void => {
      const step = 1e-5;
      const numeric = values.map((value, i) => {
        const at = (x: number): number => weighted(config, moved(values.with(i, x)), dout);
        return (at(value + step) - at(value - step)) / (2 * step);
      });
      const analytic = name === 'q' || name === 'k' || name === 'v' ? gradients?.[name] : gradients?.parameters[name];
      expect(relativeToPeak(analytic ?? [], numeric), name).toBeLessThan(1e-7);
    };
    for (const name of ['q', 'k', 'v'] as const) check(name, input[name], (values) => ({ ...input, [name]: values }));
    for (const [name, values] of Object.entries(input.parameters ?? {})) {
      check(name, values, (moved) => ({ ...input, parameters: { ...input.parameters, [name]: moved } }));
    }
  });
});

describe('what a position may see', () => {
  it.each(causal)('%s: later positions never change an earlier output', (name, config) => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: n - 2 }), fc.integer(), (last, seed) => {
        const input = randomInput(config, seed);
        const changed = randomInput(config, seed + 1);
        const E = valueWidthOf(input.dims);
        const mix = (own: Float64Array, other: Float64Array, width: number): Float64Array =>
          own.map((value, i) => (Math.floor(i / width) % n <= last ? value : other[i]));
        const edited = {
          ...input,
          q: mix(input.q, changed.q, input.dims.headWidth),
          k: mix(input.k, changed.k, input.dims.headWidth),
          v: mix(input.v, changed.v, E),
        };
        const kept = (out: Float64Array): Float64Array => out.filter((_value, i) => Math.floor(i / E) % n <= last);
        expect(kept(mixReference(config, edited))).toEqual(kept(mixReference(config, input)));
      }),
      { seed: 2, numRuns: name in variants ? 30 : 5 },
    );
  });

  it('an unmasked convolution reads the future', () => {
    const config = variants['unmasked convolution'];
    const input = randomInput(config, 1);
    // Position 7 of key-value head 0: two positions after 5.
    const edited = { ...input, v: input.v.with(7 * 2, 9) };
    const before = mixReference(config, input);
    const after = mixReference(config, edited);
    expect(after.subarray(0, 10)).toEqual(before.subarray(0, 10));
    expect(after[5 * 2]).not.toBeCloseTo(before[5 * 2]);
  });

  it.each(causal)('%s: every node of a tree gets what its own path gives alone', (_, config) => {
    const input = randomInput(config, 3, forked);
    const { heads, keyValueHeads, headWidth: D } = input.dims;
    const E = valueWidthOf(input.dims);
    const out = mixReference(config, input);
    for (let node = 0; node < n; node++) {
      const path: number[] = [];
      for (let at = node; at >= 0; at = forked[at]) path.unshift(at);
      const pick = (rows: Float64Array, count: number, width: number): Float64Array =>
        Float64Array.from({ length: count * path.length * width }, (_value, i) => {
          const head = Math.floor(i / (path.length * width));
          return rows[(head * n + path[Math.floor(i / width) % path.length]) * width + (i % width)];
        });
      const alone = mixReference(config, {
        ...input,
        dims: { ...input.dims, length: path.length },
        q: pick(input.q, heads, D),
        k: pick(input.k, keyValueHeads, D),
        v: pick(input.v, keyValueHeads, E),
        parents: undefined,
      });
      for (let head = 0; head < heads; head++) {
        const last = (head * path.length + path.length - 1) * E;
        const own = (head * n + node) * E;
        expect(relativeToPeak(out.subarray(own, own + E), alone.subarray(last, last + E))).toBeLessThan(1e-14);
      }
    }
  });
});

describe('known values', () => {
  const dims = { heads: 1, keyValueHeads: 1, length: 3, headWidth: 1 };

  it('counts by hand: G = 2, all rows parallel', () => {
    const out = mixReference(linear({ group: 2, local: {}, global: {}, convolution: { kernel: 3 } }), {
      dims,
      q: Float64Array.of(2, 3, 4),
      k: Float64Array.of(5, 6, 7),
      v: Float64Array.of(1, 10, 100),
      parameters: { global_factor: Float64Array.of(0.5), 'dwconv.weight': Float64Array.of(2, 3, 1000) },
    });
    // local + α·global + w[1]·v_t + w[0]·v_{t−1}; the weight 1000 would read the future.
    expect([...out]).toEqual([1 + 3, 11 + 30 + 2, 100 + 0.5 * 11 + 300 + 20]);
  });

  it('divides the weights of the local branch by 0.001 + their sum', () => {
    const out = mixReference(linear({ group: 2, local: { scale: 'learned' }, global: {}, normalize: 'local' }), {
      dims,
      q: Float64Array.of(2, 3, -4),
      k: Float64Array.of(5, 6, 7),
      v: Float64Array.of(1, 10, 100),
      parameters: { local_factor: Float64Array.of(3), global_factor: Float64Array.of(0.5) },
    });
    // Two keys of weight 1 are as much as one; the last position likes no key of its own group, and has the global branch.
    expect(relativeToPeak(out, [3 / 1.001, 33 / 2.001, -0.5 * 11])).toBeLessThan(1e-15);
  });

  it('a zero row normalizes to zero, without NaN in outputs or gradients', () => {
    for (const [name, config] of everything) {
      const random = randomInput(config, 8);
      const { headWidth: D, heads } = random.dims;
      const [q, k, v] = [random.q.fill(0, 0, 2 * D), random.k.fill(0, D, 3 * D), random.v.fill(0, 0, 3 * E)];
      const input = { ...random, q, k, v };
      expect(mixReference(config, input).every(Number.isFinite), name).toBe(true);
      const gradients = handDerived(config, input, new Float64Array(heads * n * valueWidthOf(random.dims)).fill(1));
      if (gradients === undefined) continue;
      for (const part of [gradients.q, gradients.k, gradients.v, ...Object.values(gradients.parameters)]) {
        expect(part.every(Number.isFinite), name).toBe(true);
      }
    }
  });

  it('zero α and a zero filter leave the local mixer', () => {
    const input = randomInput(mixerPreset('augmented', { kernel: 5 }), 4);
    const augmented = mixReference(mixerPreset('augmented', { group: 3, kernel: 5 }), {
      ...input,
      parameters: { global_factor: Float64Array.of(0), 'dwconv.weight': new Float64Array(4 * 5) },
    });
    expect(augmented).toEqual(mixReference(mixerPreset('local', { group: 3 }), input));
  });

  const global_factor = Float64Array.of(0.7);
  it.each([
    ['short q', { q: new Float64Array(2) }, 'SHAPE'],
    ['a short filter', { parameters: { global_factor, 'dwconv.weight': new Float64Array(3) } }, 'SHAPE'],
    ['a missing filter', { parameters: { global_factor } }, 'INPUT'],
    ['missing α', { parameters: { 'dwconv.weight': new Float64Array(4 * 5) } }, 'INPUT'],
    ['parents out of order', { parents: Int32Array.from({ length: n }, (_, i) => (i === 1 ? 2 : i - 1)) }, 'INPUT'],
    ['too few parents', { parents: Int32Array.of(-1, 0) }, 'SHAPE'],
    ['uneven heads', { dims: { heads: 4, keyValueHeads: 3, length: n, headWidth: 3, valueWidth: E } }, 'SHAPE'],
  ])('refuses %s', (_, wrong, code) => {
    const config = mixerPreset('augmented', { group: 3, kernel: 5 });
    const run = (): unknown => mixReference(config, { ...randomInput(config, 1), ...wrong });
    expect(run).toThrow(expect.objectContaining({ code }));
    expect(run).toThrow(LinnetError);
  });

  it('refuses an unmasked convolution over a tree', () => {
    const config = variants['unmasked convolution'];
    expect(() => mixReference(config, randomInput(config, 1, forked))).toThrow(/only a chain has/);
  });
});
