import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Dim, addDims, multiplyDims, zeros } from '../graph/tensor.ts';
import { feedCheck } from './program.ts';

const sizes = new Map([
  ['B', 2],
  ['R', 5],
  ['T', 3],
]);

/** A dimension as the graph writes it, and its size. */
interface Sized {
  readonly dim: Dim;
  readonly size: number;
}

const plain: fc.Arbitrary<Sized> = fc.oneof(
  fc.constantFrom(...sizes).map(([dim, size]) => ({ dim, size })),
  fc.integer({ min: 1, max: 9 }).map((size) => ({ dim: size, size })),
);

const addAll = (parts: readonly Sized[]): Sized => ({
  dim: addDims(...parts.map(({ dim }) => dim)),
  size: parts.reduce((total, { size }) => total + size, 0),
});

const multiplyAll = (parts: readonly Sized[]): Sized => ({
  dim: multiplyDims(...parts.map(({ dim }) => dim)),
  size: parts.reduce((total, { size }) => total * size, 1),
});

const parts = (part: fc.Arbitrary<Sized>) => fc.array(part, { minLength: 1, maxLength: 3 });
const sumOfProducts = parts(parts(plain).map(multiplyAll)).map(addAll);
const productOfSums = parts(parts(plain).map(addAll)).map(multiplyAll);

/** Checks feeds of the plain names, and one of a combined dimension. */
function check(dim: Dim, size: number): void {
  const live = new Map([
    ['plain', { dtype: 'float32', shape: [...sizes.keys()] } as const],
    ['combined', { dtype: 'float32', shape: [dim] } as const],
  ]);
  const feeds = { plain: zeros('float32', [...sizes.values()]), combined: zeros('float32', [size]) };
  feedCheck({ graph: 'g', live, unused: new Set() })(feeds);
}

describe('sizes of combined dimensions', () => {
  it('follow from the sizes of their parts, however the graph combined them', () => {
    fc.assert(
      fc.property(fc.oneof(sumOfProducts, productOfSums), ({ dim, size }) => {
        expect(() => {
          check(dim, size);
        }).not.toThrow();
        expect(() => {
          check(dim, size + 1);
        }).toThrow('combined');
      }),
      { seed: 7 },
    );
  });

  it.each([
    ['T', 3],
    ['R+T+1', 9],
    ['B*T*4', 24],
    ['(R+T)*2', 16],
  ])('%s is %s', (dim, expected) => {
    expect(() => {
      check(dim, expected + 1);
    }).toThrow(`is ${expected}`);
  });

  it.each(['S', 'S+T', 'S*2'])('%s may be any, without a feed that tells S', (dim) => {
    expect(() => {
      check(dim, 7);
    }).not.toThrow();
  });
});
