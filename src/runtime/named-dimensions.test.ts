import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addDims, type Dim, multiplyDims } from '../graph/shape.ts';
import { compileDim } from './named-dimensions.ts';

const sizes = new Map([
  ['B', 2],
  ['R', 5],
  ['T', 3],
]);
const sizeOf = (name: string): number | undefined => sizes.get(name);

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

describe('sizes of named dimensions', () => {
  it('follow from the sizes of their parts, however the graph combined them', () => {
    fc.assert(
      fc.property(fc.oneof(sumOfProducts, productOfSums), ({ dim, size }) => {
        expect(typeof dim === 'number' ? dim : compileDim(dim)(sizeOf)).toBe(size);
      }),
      { seed: 7 },
    );
  });

  it.each([
    ['T', 3],
    ['R+T+1', 9],
    ['B*T*4', 24],
    ['(R+T)*2', 16],
    ['S', undefined],
    ['S+T', undefined],
    ['S*2', undefined],
  ])('%s is %s', (dim, expected) => {
    expect(compileDim(dim)(sizeOf)).toBe(expected);
  });
});
