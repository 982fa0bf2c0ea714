/** The explained pages' computations: three ways that agree, and a rule that does not. */
import { describe, expect, it } from 'vitest';
import {
  byFormula,
  bySums,
  foldedUpTo,
  largestDifference,
  pathsAlone,
  randomRows,
  treeStep,
  weightsOf,
} from './small-layer.ts';

it.each([1, 3, 4, 30])('sums over groups of %i equal the formula', (group) => {
  const rows = randomRows(17, 2);
  expect(largestDifference(byFormula({ group }, rows), bySums({ group }, rows))).toBeLessThan(1e-13);
});

it('weights times values are the outputs', () => {
  const rows = randomRows(13, 3);
  const mixer = { group: 4, filter: [9, 9, 0.5, 0.3, 0.1], masked: false };
  const { window, memory, convolution } = weightsOf(mixer, rows);
  const products = rows.q.map((_, t) => {
    const out = new Float64Array(8);
    rows.v.forEach((value, j) => {
      const at = t * 13 + j;
      value.forEach((x, i) => (out[i] += (window[at] + memory[at] + convolution[at]) * x));
    });
    return out;
  });
  // Weights are float32, for drawing.
  expect(largestDifference(products, byFormula(mixer, rows))).toBeLessThan(1e-5);
});

describe.each([2, 3, 4, 5])('a tree over groups of %i', (group) => {
  const parents = [-1, 0, 1, 0, 3, 2, 5];
  const problemAt = (committed: number) => ({
    ...{ mixer: { group, filter: [0.1, 0.2, 0.5, 0.2, 0.4] }, committed, parents },
    rows: randomRows(committed + parents.length, 4),
  });

  it('gives each node its path’s own output, wherever the text ends', () => {
    for (let committed = 1; committed < 12; committed++) {
      const problem = problemAt(committed);
      expect(largestDifference(treeStep(problem, {}), pathsAlone(problem))).toBeLessThan(1e-13);
    }
  });

  it('does not if closed groups are unseen', () => {
    const problem = problemAt(2 * group - 1);
    expect(foldedUpTo(problem)).toBe(group);
    const forgetful = { seesClosedGroups: false };
    expect(largestDifference(treeStep(problem, forgetful), pathsAlone(problem))).toBeGreaterThan(0.01);
  });
});
