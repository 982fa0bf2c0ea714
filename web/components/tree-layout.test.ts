import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chain, TokenTree, treeFromPaths } from '../../src/attention/tree.ts';
import { layoutTree } from './tree-layout.ts';

/** Random forests of up to 40 nodes. */
const forests = fc
  .array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1, maxLength: 40 })
  .map((draws) => new TokenTree(draws.map((draw, node) => Math.floor(draw * (node + 1)) - 1)));

const small = treeFromPaths([[0], [1], [0, 0], [0, 1]]).tree;

describe('layoutTree', () => {
  it('keeps nodes of one depth apart and in order, and parents over the middle of their children', () => {
    fc.assert(
      fc.property(forests, (tree) => {
        const { columns, width } = layoutTree(tree.parents);
        expect(Math.min(...columns)).toBeCloseTo(0);
        expect(Math.max(...columns)).toBeCloseTo(width);
        for (let depth = 0; depth <= tree.height; depth++) {
          const row = [...columns.keys()].filter((node) => tree.depths[node] === depth).map((node) => columns[node]);
          const sorted = row.sort((a, b) => a - b);
          for (let at = 1; at < sorted.length; at++) expect(sorted[at] - sorted[at - 1]).toBeGreaterThan(1 - 1e-9);
        }
        for (let node = 0; node < tree.size; node++) {
          const children = [...columns.keys()].filter((child) => tree.parents[child] === node);
          const places = children.map((child) => columns[child]);
          expect(places).toEqual([...places].sort((a, b) => a - b));
          if (places.length > 0) expect((places[0] + places[places.length - 1]) / 2).toBeCloseTo(columns[node]);
        }
      }),
      { seed: 11 },
    );
  });

  it('is compact: a chain takes one column, and deep subtrees share columns with shallow ones', () => {
    expect(layoutTree(chain(5).parents).width).toBe(0);
    expect(layoutTree(Array.from({ length: 20_000 }, (_, node) => node - 1)).width).toBe(0);
    expect([...layoutTree(small.parents).columns]).toEqual([0.5, 0, 1, -0.5, 0.5].map((column) => column + 0.5));
  });
});

describe('layoutTree of what a server sends', () => {
  it('counts depths, and takes a parent that comes later for none', () => {
    expect(layoutTree([-1, 0, 0, 1, 2, 2]).depths).toEqual([0, 1, 1, 2, 2, 2]);
    expect(layoutTree([-1, 5, Number.NaN]).depths).toEqual([0, 0, 0]);
  });
});
