/** What nodes of trees see by masks: the step form in float64 against golden trees and the reference, and single masks. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { goldenNumbers, goldenTensor, readGolden, relativeToPeak } from '../parity/golden.ts';
import { goldenTree, goldenTrees } from '../parity/golden-trees.ts';
import { Random } from '../../src/random.ts';
import { type LinearMixer, linearSchema } from '../../src/attention/kinds/linear/config.ts';
import { localRowKernel } from '../../src/attention/kinds/linear/reference.ts';
import { emptySlot, fillMasks, makeMaskBuffers, type MaskBlock, type TreeRule } from '../../src/attention/masks.ts';
import type { MixerConfig } from '../../src/attention/mixer.ts';
import { horizonOf, mixerParameters, mixReference, parseMixer, stateShape } from '../../src/attention/mixers.ts';
import { mixerPreset } from '../../src/attention/presets.ts';
import { addScaled, dot, rowOf, unit } from '../../src/attention/reference.ts';
import { chain, TokenTree } from '../../src/attention/tree.ts';

/** Rows of a committed prefix and of a tree, [heads, rows, d] each. */
interface Rows {
  readonly prefix: Float64Array;
  readonly tree: Float64Array;
}

interface StepCase {
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headWidth: number;
  /** Rows in `prefix`, of which the first `committed` count. */
  readonly prefixRows: number;
  readonly committed: number;
  readonly tree: TokenTree;
  readonly q: Rows;
  readonly k: Rows;
  readonly v: Rows;
  /** α. */
  readonly alpha: number;
  /** The filter of the convolution [H,K]. */
  readonly filter: Float64Array | undefined;
}

/** Slots after committing positions 0…L−1 one by one into a ring. */
function slotsAfter(committed: number, ring: number): Int32Array {
  const slots = new Int32Array(ring).fill(emptySlot);
  for (let position = 0; position < committed; position++) slots[position % ring] = position;
  return slots;
}

const linearOf = (config: MixerConfig): LinearMixer | null => linearSchema.safeParse(config).data ?? null;

/** Ring size: the state's own; the whole prefix for softmax attention. */
function ringSize(config: MixerConfig, at: StepCase): number {
  const { slots } = stateShape(config, at);
  return slots === 'growing' ? at.committed + 3 : slots;
}

/** The local branch of softmax attention. */
const softmax: LinearMixer['local'] = { kernel: 'softmax', scale: 'none' };

/**
 * The step form in float64: rows of the ring and the tree weighted by the masks, plus q̂·S. Only rows that the ring
 * still holds can be read. Returns [H,T,d].
 */
function stepByMasks(config: MixerConfig, at: StepCase, rule?: TreeRule): Float64Array {
  const { heads, keyValueHeads, headWidth: d, tree, committed } = at;
  const linear = linearOf(config);
  const slots = slotsAfter(committed, ringSize(config, at));
  const buffers = makeMaskBuffers(1, tree.size, slots.length);
  fillMasks(buffers, 0, { slotPositions: slots, tree, committed, rule }, horizonOf(config));
  const foldedEnd = linear === null ? 0 : Math.floor(committed / linear.group) * linear.group;
  const out = new Float64Array(heads * tree.size * d);
  for (let head = 0; head < heads; head++) {
    const kvHead = Math.floor(head / (heads / keyValueHeads));
    const prefixRow = (rows: Rows, p: number): Float64Array => rowOf(rows.prefix, kvHead, p, at.prefixRows, d);
    const treeRow = (rows: Rows, node: number): Float64Array => rowOf(rows.tree, kvHead, node, tree.size, d);
    for (let node = 0; node < tree.size; node++) {
      const query = rowOf(at.q.tree, head, node, tree.size, d);
      const mixed = rowOf(out, head, node, tree.size, d);
      const seen: { key: Float64Array; value: Float64Array; same: number; earlier: number; offset: number }[] = [];
      const look = (block: MaskBlock, column: number, key: Float64Array, value: Float64Array): void => {
        const i = node * block.rows + column;
        seen.push({ key, value, same: block.same[i], earlier: block.earlier[i], offset: block.offsets[i] });
      };
      for (const [slot, p] of slots.entries()) {
        if (p !== emptySlot) look(buffers.ring, slot, prefixRow(at.k, p), prefixRow(at.v, p));
      }
      for (let other = 0; other < tree.size; other++) {
        look(buffers.tree, other, treeRow(at.k, other), treeRow(at.v, other));
      }
      const local = linear === null ? softmax : linear.local;
      if (local !== null) {
        const group = seen.filter((row) => row.same === 1);
        const weights = localRowKernel(
          local,
          null,
          1 / Math.sqrt(d),
        )(
          query,
          group.map((row) => row.key),
        );
        for (const [j, row] of group.entries()) addScaled(mixed, weights[j], row.value);
      }
      if (linear !== null && linear.global !== null) {
        const unitQuery = unit(query);
        const addGlobal = (key: Float64Array, value: Float64Array): void =>
          addScaled(mixed, at.alpha * dot(unitQuery, unit(key)), value);
        for (const row of seen) if (row.earlier === 1) addGlobal(row.key, row.value);
        // q̂·S, S being the sum over the groups closed within the committed text.
        for (let p = 0; p < foldedEnd; p++) addGlobal(prefixRow(at.k, p), prefixRow(at.v, p));
      }
      if (linear !== null && linear.convolution !== null && at.filter !== undefined) {
        const { kernel: K } = linear.convolution;
        const reach = (K - 1) / 2;
        for (const row of seen) {
          if (row.offset <= reach) addScaled(mixed, at.filter[head * K + reach - row.offset], row.value);
        }
      }
    }
  }
  return out;
}

/** The same from the reference, on the prefix with the tree behind it. Returns [H,T,d]. */
function stepByReference(config: MixerConfig, at: StepCase): Float64Array {
  const { heads, keyValueHeads, headWidth: d, tree, committed } = at;
  const length = committed + tree.size;
  const join = (rows: Rows, count: number): Float64Array => {
    const joined = new Float64Array(count * length * d);
    for (let head = 0; head < count; head++) {
      joined.set(
        rows.prefix.subarray(head * at.prefixRows * d, (head * at.prefixRows + committed) * d),
        head * length * d,
      );
      joined.set(rows.tree.subarray(head * tree.size * d, (head + 1) * tree.size * d), (head * length + committed) * d);
    }
    return joined;
  };
  const dims = { heads, keyValueHeads, length, headWidth: d };
  const values = { global_factor: Float64Array.of(at.alpha), 'dwconv.weight': at.filter ?? new Float64Array(0) };
  const names = mixerParameters(config, dims).map(({ name }) => name);
  const all = mixReference(config, {
    dims,
    q: join(at.q, heads),
    k: join(at.k, keyValueHeads),
    v: join(at.v, keyValueHeads),
    parameters: Object.fromEntries(Object.entries(values).filter(([name]) => names.includes(name))),
    // A root continues the last position of the prefix; without one, committed − 1 is −1.
    parents: Int32Array.from({ length }, (_, i) => (i < committed ? i - 1 : committed + tree.parents[i - committed])),
  });
  return all.filter((_, i) => Math.floor(i / d) % length >= committed);
}

/** A variant of a golden tree, as `stepByMasks` takes it. */
function goldenStep(name: string, prefixLength: number, conv: number): { mixer: MixerConfig; at: StepCase } {
  const { group_size, q_heads, kv_heads, head_dim } = goldenTree(name);
  const io = readGolden(name);
  const rows = (part: string): Rows => ({
    prefix: goldenNumbers(io, `prefix.${part}`),
    tree: goldenNumbers(io, `tree.${part}`),
  });
  return {
    mixer: mixerPreset('augmented', { group: group_size, kernel: conv, fade: 1 }),
    at: {
      heads: q_heads,
      keyValueHeads: kv_heads,
      headWidth: head_dim,
      prefixRows: 40,
      committed: prefixLength,
      tree: new TokenTree(goldenNumbers(io, 'parents')),
      q: rows('q'),
      k: rows('k'),
      v: rows('v'),
      alpha: goldenNumbers(io, 'alpha')[0],
      filter: goldenNumbers(io, `conv${conv}`),
    },
  };
}

describe('the golden trees, by masks', () => {
  it.each(goldenTrees)('%s', (name) => {
    const { variants } = goldenTree(name);
    const io = readGolden(name);
    expect(variants.length).toBeGreaterThan(10);
    for (const { prefix_length, conv, key } of variants) {
      const { mixer, at } = goldenStep(name, prefix_length, conv);
      expect(relativeToPeak(stepByMasks(mixer, at), goldenNumbers(io, key)), key).toBeLessThan(1e-10);
    }
  });

  it("by the paper's rule they give what its reference code gives, wrong beyond a boundary", () => {
    let differing = 0;
    for (const name of goldenTrees) {
      const io = readGolden(name);
      for (const { prefix_length, conv, key } of goldenTree(name).variants) {
        const original = io.get(key.replace('.out', '.original_code_out'));
        if (original === undefined) continue;
        const { mixer, at } = goldenStep(name, prefix_length, conv);
        const out = stepByMasks(mixer, at, { seesClosedGroups: false });
        expect(relativeToPeak(out, original.data), key).toBeLessThan(1e-6); // stored as float32
        if (relativeToPeak(out, goldenTensor(io, key).data) > 1e-3) differing++;
      }
    }
    expect(differing).toBeGreaterThanOrEqual(4);
  });
});

describe('masks against the reference', () => {
  const configs = fc.oneof(
    fc.constant<MixerConfig>({ kind: 'softmax' }),
    fc
      .record({
        group: fc.integer({ min: 1, max: 7 }),
        local: fc.constantFrom(null, { kernel: 'relu2' }, { kernel: 'softmax' }),
        global: fc.constantFrom(null, {}),
        kernel: fc.constantFrom(null, 1, 5, 11),
      })
      .filter(({ local, global, kernel }) => local !== null || global !== null || kernel !== null)
      .map(({ group, local, global, kernel }) =>
        parseMixer({ kind: 'linear', group, local, global, convolution: kernel === null ? null : { kernel } }),
      ),
  );
  const trees = fc
    .array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1, maxLength: 16 })
    .map((draws) => new TokenTree(draws.map((draw, node) => Math.max(-1, node - 1 - Math.floor(draw * 3)))));

  it('any mixer, any prefix length, any forest', () => {
    fc.assert(
      fc.property(configs, trees, fc.integer({ min: 0, max: 20 }), fc.integer(), (config, tree, committed, seed) => {
        const random = new Random(seed);
        const numbers = (n: number): Float64Array => Float64Array.from({ length: n }, () => 2 * random.uniform() - 1);
        const rows = (heads: number): Rows => ({
          prefix: numbers(heads * 20 * 3),
          tree: numbers(heads * tree.size * 3),
        });
        const kernel = linearOf(config)?.convolution?.kernel;
        const at: StepCase = {
          heads: 2,
          keyValueHeads: 1,
          headWidth: 3,
          prefixRows: 20,
          committed,
          tree,
          q: rows(2),
          k: rows(1),
          v: rows(1),
          alpha: 0.6,
          filter: kernel === undefined ? undefined : numbers(2 * kernel),
        };
        expect(relativeToPeak(stepByMasks(config, at), stepByReference(config, at))).toBeLessThan(1e-12);
      }),
      { seed: 3, numRuns: 400 },
    );
  });
});

describe('fillMasks', () => {
  const row = (array: Float32Array | Int32Array, start: number, length: number): number[] => [
    ...array.subarray(start, start + length),
  ];

  it('splits ring and tree by group: G = 4, L = 6, a chain of 3 that crosses into the next group', () => {
    const buffers = makeMaskBuffers(1, 3, 4);
    const slots = Int32Array.of(4, 5, 2, 3);
    fillMasks(buffers, 0, { slotPositions: slots, tree: chain(3), committed: 6 }, { group: 4, reach: 2 });
    // Positions 6, 7 (group 1) and 8 (group 2); 2 and 3 are in group 0, which is folded.
    expect(row(buffers.ring.same, 0, 4)).toEqual([1, 1, 0, 0]);
    expect(row(buffers.ring.same, 8, 4)).toEqual([0, 0, 0, 0]);
    expect(row(buffers.ring.earlier, 0, 8)).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    expect(row(buffers.ring.earlier, 8, 4)).toEqual([1, 1, 0, 0]);
    expect(row(buffers.ring.offsets, 0, 4)).toEqual([2, 1, 3, 3]);
    expect(row(buffers.ring.offsets, 4, 4)).toEqual([3, 2, 3, 3]);
    expect(row(buffers.tree.same, 0, 9)).toEqual([1, 0, 0, 1, 1, 0, 0, 0, 1]);
    expect(row(buffers.tree.earlier, 0, 9)).toEqual([0, 0, 0, 0, 0, 0, 1, 1, 0]);
    expect(row(buffers.tree.offsets, 0, 9)).toEqual([0, 3, 3, 1, 0, 3, 2, 1, 0]);
  });

  it('folds a group at the moment it closes', () => {
    const buffers = makeMaskBuffers(1, 1, 4);
    const fill = (committed: number): void =>
      fillMasks(
        buffers,
        0,
        { slotPositions: slotsAfter(committed, 4), tree: chain(1), committed },
        { group: 4, reach: -1 },
      );
    fill(3);
    expect(row(buffers.ring.same, 0, 4)).toEqual([1, 1, 1, 0]);
    fill(4);
    expect(row(buffers.ring.same, 0, 4)).toEqual([0, 0, 0, 0]);
    expect(row(buffers.ring.earlier, 0, 4)).toEqual([0, 0, 0, 0]);
    expect(row(buffers.ring.offsets, 0, 4)).toEqual([0, 0, 0, 0]);
  });

  it('overwrites earlier contents, pads short trees and leaves the other sequences alone', () => {
    const horizon = { group: 4, reach: 1 };
    const buffers = makeMaskBuffers(2, 3, 4);
    for (const block of [buffers.ring, buffers.tree]) {
      block.same.fill(7);
      block.earlier.fill(7);
      block.offsets.fill(7);
    }
    fillMasks(buffers, 1, { slotPositions: slotsAfter(1, 4), tree: chain(2), committed: 1 }, horizon);
    for (const block of [buffers.ring, buffers.tree]) {
      for (const array of [block.same, block.earlier, block.offsets]) {
        expect(array.subarray(0, 3 * block.rows).every((value) => value === 7)).toBe(true);
        expect(array.subarray(3 * block.rows).every((value) => value !== 7)).toBe(true);
      }
    }
    // The padding node sees itself alone, and the others do not see it.
    expect(row(buffers.tree.same, 9, 9)).toEqual([1, 0, 0, 1, 1, 0, 0, 0, 1]);
    expect(row(buffers.ring.same, 12 + 8, 4)).toEqual([0, 0, 0, 0]);
    expect(row(buffers.tree.offsets, 9 + 6, 3)).toEqual([2, 2, 2]);
  });

  it('gives the offsets of other rules: K = 5 with two siblings and a grandchild after position 2', () => {
    const offsets = (rule: TreeRule): number[][] => {
      const buffers = makeMaskBuffers(1, 5, 4);
      const tree = new TokenTree([-1, 0, 0, 1]);
      fillMasks(buffers, 0, { slotPositions: slotsAfter(3, 4), tree, committed: 3, rule }, { group: 8, reach: 2 });
      return [row(buffers.ring.offsets, 12, 4), row(buffers.tree.offsets, 15, 5)]; // of the grandchild
    };
    expect(offsets({})).toEqual([
      [3, 3, 3, 3],
      [2, 1, 3, 0, 3],
    ]);
    expect(offsets({ offset: ({ size, depths }, a, b) => (b < size ? depths[a] - depths[b] : -1) })).toEqual([
      [3, 3, 3, 3],
      [2, 1, 1, 0, 3],
    ]);
    expect(offsets({ depth: (_, node) => node, offset: (_, node, column) => node - column })).toEqual([
      [3, 3, 3, 3],
      [3, 2, 1, 0, 3],
    ]);
  });

  it('takes slots at positions that are not committed as empty', () => {
    const buffers = makeMaskBuffers(1, 1, 3);
    const slots = Int32Array.of(0, 1, 2);
    fillMasks(buffers, 0, { slotPositions: slots, tree: chain(1), committed: 1 }, { group: 8, reach: 3 });
    expect(row(buffers.ring.same, 0, 3)).toEqual([1, 0, 0]);
    expect(row(buffers.ring.offsets, 0, 3)).toEqual([1, 4, 4]);
  });

  it.each([
    ['a sequence outside the batch', 1, chain(1), 2, 0, 'SHAPE'],
    ['a large tree', 0, chain(3), 2, 0, 'SHAPE'],
    ['another ring', 0, chain(1), 3, 0, 'SHAPE'],
    ['a negative length', 0, chain(1), 2, -1, 'INPUT'],
    ['a fractional length', 0, chain(1), 2, 0.5, 'INPUT'],
  ])('refuses %s', (_, sequence, tree, slots, committed, code) => {
    const buffers = makeMaskBuffers(1, 2, 2);
    const step = { slotPositions: new Int32Array(slots), tree, committed };
    expect(() => fillMasks(buffers, sequence, step, { group: 4, reach: 1 })).toThrow(expect.objectContaining({ code }));
  });
});
