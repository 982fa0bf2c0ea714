import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { goldenConfig, goldenNumbers, goldenTensor, readGolden, relativeToPeak } from '../../test/parity/golden.ts';
import { goldenTree, goldenTrees } from '../../test/parity/golden-trees.ts';
import { LinnetError } from '../errors.ts';
import { Random } from '../random.ts';
import type { MixerConfig } from './mixer.ts';
import { mixerPreset, parseMixer } from './mixer.ts';
import type { NaiveInput } from './naive.ts';
import { naiveMixer } from './naive.ts';
import { naiveGradients } from './naive-gradients.ts';

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
      const dims = { heads: q_heads, keyValueHeads: kv_heads, length: n, headDim: head_dim };
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
      for (let b = 0; b < batch; b++) {
        const input: NaiveInput = {
          dims,
          q: sequence('q', b),
          k: sequence('k', b),
          v: sequence('v', b),
          alpha: goldenNumbers(io, 'alpha')[0],
          taps: conv === null ? undefined : goldenNumbers(io, `conv${conv}`),
        };
        out.push(...naiveMixer(config, input));
        const gradients = naiveGradients(config, input, sequence('dout', b));
        dq.push(...gradients.q);
        dk.push(...gradients.k);
        dv.push(...gradients.v);
        dalpha += gradients.alpha ?? 0;
        gradients.taps?.forEach((value, i) => {
          dconv[i] += value;
        });
        expect(gradients.alpha === null).toBe(!use_global);
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
      const out = naiveMixer(mixerPreset('augmented', { group: group_size, kernel: conv }), {
        dims: { heads: q_heads, keyValueHeads: kv_heads, length, headDim: head_dim },
        q: joined('q', q_heads),
        k: joined('k', kv_heads),
        v: joined('v', kv_heads),
        alpha: goldenNumbers(io, 'alpha')[0],
        taps: goldenNumbers(io, `conv${conv}`),
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

function randomInput(config: MixerConfig, seed: number, parents?: Int32Array): NaiveInput {
  const random = new Random(seed);
  const numbers = (count: number): Float64Array => Float64Array.from({ length: count }, () => 2 * random.uniform() - 1);
  const dims = { heads: 4, keyValueHeads: 2, length: parents?.length ?? 8, headDim: 3, valueDim: 2 };
  const kernel = config.kind === 'linear' ? config.convolution?.kernel : undefined;
  return {
    dims,
    q: numbers(4 * dims.length * 3),
    k: numbers(2 * dims.length * 3),
    v: numbers(2 * dims.length * 2),
    alpha: 0.7,
    lambda: 1.3,
    taps: kernel === undefined ? undefined : numbers(4 * kernel),
    parents,
  };
}

function weighted(config: MixerConfig, input: NaiveInput, dout: Float64Array): number {
  return naiveMixer(config, input).reduce((sum, value, i) => sum + value * dout[i], 0);
}

/** Two forks; depths 0 to 4, so that groups of 3 are crossed. */
const forked = Int32Array.of(-1, 0, 1, 2, 1, 4, 5, 3);

describe('gradients against central differences', () => {
  const cases = Object.entries(variants).flatMap(([name, config]) => {
    const chainCase = { name: `${name}, chain`, config, parents: undefined };
    const leaks = config.kind === 'linear' && config.convolution?.masked === false;
    return leaks ? [chainCase] : [chainCase, { name: `${name}, tree`, config, parents: forked }];
  });
  it.each(cases)('$name', ({ config, parents }) => {
    const input = randomInput(config, 5, parents);
    const random = new Random(6);
    const dout = Float64Array.from({ length: 4 * 8 * 2 }, () => 2 * random.uniform() - 1);
    const gradients = naiveGradients(config, input, dout);
    const step = 1e-5;

    for (const key of ['q', 'k', 'v', 'taps'] as const) {
      const values = input[key];
      const analytic = gradients[key];
      if (values === undefined || analytic === null) continue;
      const numeric = values.map((value, i) => {
        const at = (x: number): number => weighted(config, { ...input, [key]: values.with(i, x) }, dout);
        return (at(value + step) - at(value - step)) / (2 * step);
      });
      expect(relativeToPeak(analytic, numeric), key).toBeLessThan(1e-7);
    }
    for (const key of ['alpha', 'lambda'] as const) {
      const analytic = gradients[key];
      if (analytic === null) continue;
      const at = (x: number): number => weighted(config, { ...input, [key]: (input[key] ?? 0) + x }, dout);
      expect(relativeToPeak([analytic], [(at(step) - at(-step)) / (2 * step)]), key).toBeLessThan(1e-7);
    }
  });
});

describe('what a position may see', () => {
  const causal = Object.entries(variants).filter(([name]) => name !== 'unmasked convolution');
  it.each(causal)('%s: later positions never change an earlier output', (_, config) => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 6 }), fc.integer(), (last, seed) => {
        const input = randomInput(config, seed);
        const changed = randomInput(config, seed + 1);
        const mix = (own: Float64Array, other: Float64Array, width: number): Float64Array =>
          own.map((value, i) => (Math.floor(i / width) % 8 <= last ? value : other[i]));
        const edited = {
          ...input,
          q: mix(input.q, changed.q, 3),
          k: mix(input.k, changed.k, 3),
          v: mix(input.v, changed.v, 2),
        };
        const kept = (out: Float64Array): Float64Array => out.filter((_value, i) => Math.floor(i / 2) % 8 <= last);
        expect(kept(naiveMixer(config, edited))).toEqual(kept(naiveMixer(config, input)));
      }),
      { seed: 2, numRuns: 30 },
    );
  });

  it('an unmasked convolution reads the future', () => {
    const config = variants['unmasked convolution'];
    const input = randomInput(config, 1);
    // Position 7 of key-value head 0: two positions after 5.
    const edited = { ...input, v: input.v.with(7 * 2, 9) };
    const before = naiveMixer(config, input);
    const after = naiveMixer(config, edited);
    expect(after.subarray(0, 10)).toEqual(before.subarray(0, 10));
    expect(after[5 * 2]).not.toBeCloseTo(before[5 * 2]);
  });

  it('every node of a tree gets what its own path gives alone', () => {
    for (const config of Object.values(variants)) {
      if (config.kind === 'linear' && config.convolution?.masked === false) continue;
      const input = randomInput(config, 3, forked);
      const out = naiveMixer(config, input);
      for (let node = 0; node < 8; node++) {
        const path: number[] = [];
        for (let at = node; at >= 0; at = forked[at]) path.unshift(at);
        const pick = (rows: Float64Array, heads: number, width: number): Float64Array =>
          Float64Array.from({ length: heads * path.length * width }, (_, i) => {
            const head = Math.floor(i / (path.length * width));
            return rows[(head * 8 + path[Math.floor(i / width) % path.length]) * width + (i % width)];
          });
        const alone = naiveMixer(config, {
          ...input,
          dims: { ...input.dims, length: path.length },
          q: pick(input.q, 4, 3),
          k: pick(input.k, 2, 3),
          v: pick(input.v, 2, 2),
          parents: undefined,
        });
        for (let head = 0; head < 4; head++) {
          const last = (head * path.length + path.length - 1) * 2;
          const own = (head * 8 + node) * 2;
          expect(relativeToPeak(out.subarray(own, own + 2), alone.subarray(last, last + 2))).toBeLessThan(1e-14);
        }
      }
    }
  });
});

describe('known values', () => {
  const dims = { heads: 1, keyValueHeads: 1, length: 3, headDim: 1 };

  it('counts by hand: G = 2, all rows parallel', () => {
    const out = naiveMixer(linear({ group: 2, local: {}, global: {}, convolution: { kernel: 3 } }), {
      dims,
      q: Float64Array.of(2, 3, 4),
      k: Float64Array.of(5, 6, 7),
      v: Float64Array.of(1, 10, 100),
      alpha: 0.5,
      taps: Float64Array.of(2, 3, 1000),
    });
    // local + α·global + w[1]·v_t + w[0]·v_{t−1}; the tap 1000 would read the future.
    expect([...out]).toEqual([1 + 3, 11 + 30 + 2, 100 + 0.5 * 11 + 300 + 20]);
  });

  it('a zero row normalizes to zero, without NaN in outputs or gradients', () => {
    for (const [name, config] of Object.entries(variants)) {
      const random = randomInput(config, 8);
      const input = { ...random, q: random.q.fill(0, 0, 6), k: random.k.fill(0, 3, 9), v: random.v.fill(0, 0, 6) };
      expect(naiveMixer(config, input).every(Number.isFinite), name).toBe(true);
      const gradients = naiveGradients(config, input, new Float64Array(64).fill(1));
      for (const part of [gradients.q, gradients.k, gradients.v, gradients.taps]) {
        expect(part?.every(Number.isFinite) ?? true, name).toBe(true);
      }
    }
  });

  it('zero α and zero taps leave the local mixer', () => {
    const input = randomInput(mixerPreset('augmented', { kernel: 5 }), 4);
    const augmented = naiveMixer(mixerPreset('augmented', { group: 3, kernel: 5 }), {
      ...input,
      alpha: 0,
      taps: new Float64Array(4 * 5),
    });
    expect(augmented).toEqual(naiveMixer(mixerPreset('local', { group: 3 }), input));
  });

  it.each([
    ['short q', { q: new Float64Array(2) }, 'SHAPE'],
    ['missing taps', { taps: undefined }, 'SHAPE'],
    ['missing α', { alpha: undefined }, 'INPUT'],
    ['parents out of order', { parents: Int32Array.of(-1, 2, 1, 2, 3, 4, 5, 6) }, 'INPUT'],
    ['too few parents', { parents: Int32Array.of(-1, 0) }, 'SHAPE'],
    ['uneven heads', { dims: { heads: 4, keyValueHeads: 3, length: 8, headDim: 3, valueDim: 2 } }, 'SHAPE'],
  ])('refuses %s', (_, wrong, code) => {
    const config = mixerPreset('augmented', { group: 3, kernel: 5 });
    const run = (): unknown => naiveMixer(config, { ...randomInput(config, 1), ...wrong });
    expect(run).toThrow(expect.objectContaining({ code }));
    expect(run).toThrow(LinnetError);
  });

  it('refuses an unmasked convolution over a tree', () => {
    const config = variants['unmasked convolution'];
    expect(() => naiveMixer(config, randomInput(config, 1, forked))).toThrow(/only a chain has/);
  });
});
