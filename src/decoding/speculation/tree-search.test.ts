import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { treeFromPaths } from '../../attention/tree.ts';
import { Random } from '../../random.ts';
import {
  type Acceptance,
  dynamicTree,
  greedyTree,
  interpolateStepTime,
  observedLength,
  type ObservedRanks,
  observedTree,
  searchTrees,
} from './tree-search.ts';

const probability = fc.double({ min: 0.01, max: 1, noNaN: true });
const row = fc.array(probability, { minLength: 1, maxLength: 4 });
const anyAcceptance = fc.array(row, { minLength: 1, maxLength: 3 });
/** As measured on much text: likelier ranks first, no more than 1 in all. */
const fallingAcceptance = anyAcceptance.map((rows) =>
  rows.map((values) => {
    const total = Math.max(
      1,
      values.reduce((a, b) => a + b, 0),
    );
    return values.map((value) => value / total).sort((a, b) => b - a);
  }),
);

/** Expected tokens per step, the root included, under independent heads. */
function expectedLength(paths: readonly (readonly number[])[], acceptance: Acceptance): number {
  const chances = paths.map((path) => path.reduce((product, rank, i) => product * (acceptance[i][rank] ?? 0), 1));
  return chances.reduce((sum, chance) => sum + chance, 1);
}

/** The best yield of all trees of a size, by trying every one. */
function bruteForce(acceptance: Acceptance, nodes: number): number {
  const all: number[][] = [];
  const extend = (path: number[]): void => {
    for (let rank = 0; rank < (acceptance[path.length]?.length ?? 0); rank++) {
      all.push([...path, rank]);
      extend([...path, rank]);
    }
  };
  extend([]);
  let best = 1;
  const choose = (from: number, chosen: number[][]): void => {
    best = Math.max(best, expectedLength(chosen, acceptance));
    if (chosen.length === nodes) return;
    for (let i = from; i < all.length; i++) {
      const prefix = all[i].slice(0, -1).join(',');
      // Paths are listed after their beginnings.
      if (prefix !== '' && !chosen.some((path) => path.join(',') === prefix)) continue;
      choose(i + 1, [...chosen, all[i]]);
    }
  };
  choose(0, []);
  return best;
}

function randomRanks(heads: number, positions: number, seed: number): ObservedRanks {
  const random = new Random(seed);
  const ranks = Int32Array.from({ length: heads * positions }, () => Math.floor(6 * random.uniform() ** 3));
  return { heads, positions, ranks };
}

describe('search of candidate trees', () => {
  it('dynamic programming finds the best tree there is', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(probability, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 2 }),
        fc.integer({ min: 1, max: 5 }),
        (acceptance, nodes) => {
          const paths = dynamicTree(acceptance, nodes);
          expect(paths.length).toBeLessThanOrEqual(nodes);
          expect(expectedLength(paths, acceptance)).toBeCloseTo(bruteForce(acceptance, nodes), 10);
        },
      ),
      { seed: 5, numRuns: 150 },
    );
  });

  it('and is never behind greedy growth of the same size', () => {
    fc.assert(
      fc.property(anyAcceptance, fc.integer({ min: 1, max: 40 }), (acceptance, nodes) => {
        const grown = greedyTree(acceptance, nodes);
        const best = dynamicTree(acceptance, nodes);
        for (const paths of [grown, best]) if (paths.length > 0) treeFromPaths(paths);
        expect(expectedLength(best, acceptance)).toBeGreaterThanOrEqual(expectedLength(grown, acceptance) - 1e-12);
      }),
      { seed: 6, numRuns: 300 },
    );
  });

  it('the two tie where likelier tokens have lower ranks', () => {
    fc.assert(
      fc.property(fallingAcceptance, fc.integer({ min: 1, max: 40 }), (acceptance, nodes) => {
        const grown = expectedLength(greedyTree(acceptance, nodes), acceptance);
        expect(expectedLength(dynamicTree(acceptance, nodes), acceptance)).toBeCloseTo(grown, 10);
      }),
      { seed: 7, numRuns: 300 },
    );
  });

  it('where they do not, greedy growth can miss', () => {
    // Rank 1 is likely, but hides behind an unlikely rank 0.
    const acceptance = [[0.01, 0.9], [0.8]];
    expect(dynamicTree(acceptance, 2)).toEqual([[1], [1, 0]]);
    expect(expectedLength(greedyTree(acceptance, 2), acceptance)).toBeLessThan(2);
  });

  it('adds up the probabilities of paths', () => {
    expect(expectedLength([[0], [1], [0, 0]], [[0.5, 0.25], [0.4]])).toBeCloseTo(1 + 0.5 + 0.25 + 0.2, 12);
  });

  it('observed trees yield the most on the text they were found on', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 30 }),
        fc.nat(1000),
        (heads, nodes, seed) => {
          const observed = randomRanks(heads, 200, seed);
          const paths = observedTree(observed, nodes, 6);
          if (paths.length > 0) treeFromPaths(paths);
          const rival = greedyTree(
            Array.from({ length: heads }, () => [0.5, 0.2, 0.1, 0.1, 0.05, 0.05]),
            nodes,
          );
          expect(observedLength(paths, observed)).toBeGreaterThanOrEqual(observedLength(rival, observed) - 1e-12);
        },
      ),
      { seed: 8, numRuns: 200 },
    );
  });

  it('measures the yield position by position', () => {
    const ranks = Int32Array.of(0, 0, /**/ 0, 1, /**/ 2, 0, /**/ 0, -1);
    const observed = { heads: 2, positions: 4, ranks };
    expect(observedLength([[0], [0, 0]], observed)).toBe((2 + 1 + 1 + 0 + 4) / 4);
    expect(observedLength([], observed)).toBe(1);
  });

  it('takes step times between measurements', () => {
    const times = [
      { nodes: 1, ms: 10 },
      { nodes: 8, ms: 17 },
      { nodes: 16, ms: 33 },
    ];
    expect([1, 4, 8, 12, 16, 20].map((nodes) => interpolateStepTime(times, nodes))).toEqual([10, 13, 17, 25, 33, 41]);
  });

  it('chooses small trees where nodes are dear, large ones where they are free', () => {
    const ranks = randomRanks(3, 4000, 2);
    const acceptance = Array.from({ length: 3 }, () => [0.5, 0.15, 0.1, 0.08, 0.07, 0.05]);
    const search = { acceptance, calibration: ranks, validation: randomRanks(3, 4000, 3), draftMs: 1, mostNodes: 64 };
    const size = (perNode: number): number[] =>
      searchTrees({ ...search, times: [1, 64].map((nodes) => ({ nodes, ms: 10 + perNode * nodes })) }).map(
        ({ nodes }) => nodes,
      );
    for (const nodes of size(0)) expect(nodes).toBe(64);
    for (const nodes of size(20)) expect(nodes).toBeLessThan(5);
  });
});
