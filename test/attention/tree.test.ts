import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { goldenNumbers, readGolden } from '../parity/golden.ts';
import { LinnetError } from '../../src/errors.ts';
import { chain, TokenTree, treeFromPaths } from '../../src/attention/tree.ts';

/** Random parents in topological order, forests included. */
const parentLists = fc
  .array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1, maxLength: 40 })
  .map((draws) => draws.map((draw, node) => Math.floor(draw * (node + 1)) - 1));

function walk(parents: readonly number[], node: number): number[] {
  const path = [node];
  for (let at = parents[node]; at !== -1; at = parents[at]) path.unshift(at);
  return path;
}

describe('TokenTree', () => {
  it('agrees with a naive walk to the root', () => {
    fc.assert(
      fc.property(parentLists, (parents) => {
        const tree = new TokenTree(parents);
        for (const node of parents.keys()) {
          const path = walk(parents, node);
          expect(tree.pathTo(node)).toEqual(path);
          expect(tree.depths[node]).toBe(path.length - 1);
          for (const other of parents.keys()) {
            expect(tree.isAncestorOrSelf(node, other)).toBe(path.includes(other));
          }
        }
        expect(tree.leaves()).toEqual([...parents.keys()].filter((node) => !parents.includes(node)));
        expect(tree.height).toBe(Math.max(...tree.depths));
      }),
      { seed: 1, numRuns: 200 },
    );
  });

  it.each([
    ['empty', []],
    ['self parent', [-1, 1]],
    ['later parent', [-1, 2, 0]],
    ['first node with a parent', [0]],
    ['below -1', [-1, -2]],
    ['fraction', [-1, 0.5]],
    ['NaN', [Number.NaN]],
  ])('refuses %s', (_, parents) => {
    expect(() => new TokenTree(parents)).toThrow(LinnetError);
  });

  it('refuses trees over the limit before allocating', () => {
    expect(() => new TokenTree(new Int32Array(100_000).fill(-1))).toThrow(/100000 nodes is over the limit/);
  });

  it('answers false outside its nodes', () => {
    const tree = chain(3);
    expect(tree.isAncestorOrSelf(0, 5)).toBe(false);
    expect(tree.isAncestorOrSelf(1, -1)).toBe(false);
    expect(() => tree.pathTo(3)).toThrow(/no node 3/);
  });

  it('matches the golden depths and visibility', () => {
    for (const name of ['tree_binary4', 'tree_chain5', 'tree_medusa63', 'tree_random20', 'tree_random32deep']) {
      const io = readGolden(name);
      const tree = new TokenTree(goldenNumbers(io, 'parents'));
      expect([...tree.depths]).toEqual([...goldenNumbers(io, 'depths')]);
      expect([...tree.ancestors]).toEqual([...goldenNumbers(io, 'visible')]);
    }
  });
});

describe('chain', () => {
  it('is the tree whose visibility is lower triangular', () => {
    expect([...chain(3).ancestors]).toEqual([1, 0, 0, 1, 1, 0, 1, 1, 1]);
    expect([...chain(4).depths]).toEqual([0, 1, 2, 3]);
    expect(() => chain(0)).toThrow(LinnetError);
  });
});

describe('treeFromPaths', () => {
  const digits = (...texts: string[]): number[][] => texts.map((text) => [...text].map(Number));
  /** The default tree of Medusa for 7B models: 63 candidates below the root. */
  const medusa = digits(
    ...'0 1 2 3 4 5 6 7 8 9 00 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 20 21 22 30 31 40 50 60 70 80 90'.split(
      ' ',
    ),
    ...'000 001 002 003 004 005 006 007 008 009 010 011 012 020 021 030 040 050 060 070 100 101 200'.split(' '),
    ...'0000 0001'.split(' '),
  );

  it('numbers the nodes as Medusa does, in whatever order the paths come', () => {
    const expected = [...goldenNumbers(readGolden('tree_medusa63'), 'parents')];
    const { tree, paths } = treeFromPaths(medusa);
    expect([...tree.parents]).toEqual(expected);
    expect([...treeFromPaths([...medusa].reverse()).tree.parents]).toEqual(expected);
    expect(tree.leaves()).toHaveLength(42);
    expect(paths[0]).toEqual([]);
    expect(tree.pathTo(63).map((node) => paths[node])).toEqual([[], [0], [0, 0], [0, 0, 0], [0, 0, 0, 1]]);
  });

  it('gives the root alone for no paths', () => {
    expect(treeFromPaths([]).tree.size).toBe(1);
  });

  it.each([
    ['a lacking prefix', [[0], [1, 0]], /continues \[1\], which is not listed/],
    ['a duplicate', [[0], [0]], /listed twice/],
    ['an empty path', [[]], /implied/],
    ['a negative rank', [[-1]], /whole numbers/],
  ])('refuses %s', (_, paths, message) => {
    expect(() => treeFromPaths(paths)).toThrow(message);
  });
});
