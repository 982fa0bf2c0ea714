/** Where nodes of trees go. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { layoutTree } from './tree-layout.ts';

/** Parents of a random forest. */
const forests = fc
  .array(fc.nat(), { minLength: 1, maxLength: 40 })
  .map((numbers) => numbers.map((number, node) => (number % (node + 1)) - 1));

describe('layoutTree', () => {
  it('gives leaves rows of their own and parents the middle', () => {
    //   0 ─ 1 ─ 3
    //     └ 2 ─ 4
    //         └ 5
    expect(layoutTree([-1, 0, 0, 1, 2, 2])).toEqual({
      depths: [0, 1, 1, 2, 2, 2],
      rows: [0.75, 0, 1.5, 0, 1, 2],
      height: 3,
    });
  });

  it('puts no two nodes in one place, children right of parents', () => {
    fc.assert(
      fc.property(forests, (parents) => {
        const { depths, rows, height } = layoutTree(parents);
        const places = parents.map((_, node) => `${depths[node]},${rows[node]}`);
        expect(new Set(places).size).toBe(parents.length);
        for (const [node, parent] of parents.entries()) {
          expect(depths[node]).toBe(parent < 0 ? 0 : depths[parent] + 1);
          expect(rows[node]).toBeLessThan(height);
        }
      }),
      { seed: 1 },
    );
  });

  it('takes a parent that comes later for none', () => {
    expect(layoutTree([-1, 5, Number.NaN]).depths).toEqual([0, 0, 0]);
  });

  it('lays out a chain of thousands', () => {
    const parents = Array.from({ length: 20_000 }, (_, node) => node - 1);
    expect(layoutTree(parents)).toMatchObject({ height: 1 });
  });
});
