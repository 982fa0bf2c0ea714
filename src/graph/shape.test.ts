import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Dim, addDims, broadcastShapes, formatShape, multiplyDims, normalizeAxis, staticShape } from './tensor.ts';

describe('sums and products of dimensions', () => {
  it.each<[string, Dim, Dim]>([
    ['numbers add', addDims(2, 3), 5],
    ['numbers multiply', multiplyDims(2, 3), 6],
    ['no terms', addDims(), 0],
    ['no factors', multiplyDims(), 1],
    ['0 is neutral in sums', addDims('T', 0), 'T'],
    ['1 is neutral in products', multiplyDims('T', 1), 'T'],
    ['0 times a name', multiplyDims('T', 0), 0],
    ['names come first, in order', addDims(2, 'T', 'R'), 'R+T+2'],
    ['sizes are gathered', addDims('T', 1, 'R', 2), 'R+T+3'],
    ['a name twice in a product', multiplyDims('T', 'T'), 'T*T'],
    ['sums of sums are flat', addDims(addDims('T', 1), addDims('R', 2)), 'R+T+3'],
    ['products of products are flat', multiplyDims(multiplyDims('T', 2), multiplyDims('B', 3)), 'B*T*6'],
    ['a sum in a product stays together', multiplyDims(addDims('R', 'T'), 2), '(R+T)*2'],
    ['a product in a sum', addDims(multiplyDims('B', 2), 'T'), 'B*2+T'],
    ['a sum in a product in a product', multiplyDims(multiplyDims(addDims('R', 'T'), 2), 'B'), '(R+T)*B*2'],
  ])('%s', (_, actual, expected) => {
    expect(actual).toBe(expected);
  });

  const dims = fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constantFrom('B', 'T', 'R')), { maxLength: 5 });

  it('do not depend on order or grouping', () => {
    for (const combine of [addDims, multiplyDims]) {
      fc.assert(
        fc.property(dims, dims, dims, (a, b, c) => {
          const flat = combine(...a, ...b, ...c);
          expect(combine(...c, ...a, ...b)).toBe(flat);
          expect(combine(combine(...a, ...b), ...c)).toBe(flat);
          expect(combine(...a, combine(...b, ...c))).toBe(flat);
        }),
        { seed: 1, numRuns: 200 },
      );
    }
  });
});

describe('broadcastShapes', () => {
  it.each<[Dim[], Dim[], Dim[]]>([
    [
      [2, 3],
      [2, 3],
      [2, 3],
    ],
    [[2, 1], [3], [2, 3]],
    [[], ['T', 4], ['T', 4]],
    [
      ['B', 1, 5],
      ['T', 1],
      ['B', 'T', 5],
    ],
    [['R+T'], ['R+T'], ['R+T']],
    [
      [0, 3],
      [1, 3],
      [0, 3],
    ],
  ])('%j with %j', (a, b, expected) => {
    expect(broadcastShapes('add', a, b)).toEqual(expected);
    expect(broadcastShapes('add', b, a)).toEqual(expected);
  });

  it.each<[Dim[], Dim[]]>([
    [
      [2, 3],
      [2, 4],
    ],
    [['T'], ['R']],
    [['T'], [2]],
    [
      [2, 3, 4],
      [2, 4],
    ],
  ])('refuses %j with %j, naming op and shapes', (a, b) => {
    const message = `div: shapes ${formatShape(a)} and ${formatShape(b)} do not broadcast`;
    expect(() => broadcastShapes('div', a, b)).toThrow(expect.objectContaining({ code: 'SHAPE' }));
    expect(() => broadcastShapes('div', a, b)).toThrow(message);
  });
});

describe('axes', () => {
  it('count from the back where negative', () => {
    expect([-3, -1, 0, 2].map((axis) => normalizeAxis('sum', axis, 3))).toEqual([0, 2, 0, 2]);
  });

  it.each([3, -4, 0.5, Number.NaN])('refuses %d of 3', (axis) => {
    expect(() => normalizeAxis('sum', axis, 3)).toThrow(`sum: axis ${axis} is outside a value of rank 3`);
  });
});

it('staticShape is there only without names', () => {
  expect(staticShape([2, 3])).toEqual([2, 3]);
  expect(staticShape([])).toEqual([]);
  expect(staticShape([2, 'T'])).toBeUndefined();
});
