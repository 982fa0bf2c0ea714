/** The random projections of feature maps, and what the features estimate. */
import { describe, expect, it } from 'vitest';
import { Random } from '../../../random.ts';
import { featuresOfRow } from './reference.ts';
import { normalDirections, orthogonalDirections } from './maps.ts';

const D = 6;

function column(matrix: Float32Array, count: number, index: number): number[] {
  return Array.from({ length: D }, (_, row) => matrix[row * count + index]);
}

function product(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).reduce((sum, x, i) => sum + x * b[i], 0);
}

describe('random directions', () => {
  it('are the same for a seed, and others for another', () => {
    for (const draw of [orthogonalDirections, normalDirections]) {
      expect(draw(D, 10, 3)).toEqual(draw(D, 10, 3));
      expect(draw(D, 10, 3)).not.toEqual(draw(D, 10, 4));
    }
  });

  it('are orthogonal within blocks of D and of varying length', () => {
    const count = 10;
    const matrix = orthogonalDirections(D, count, 7);
    const lengths: number[] = [];
    for (let a = 0; a < count; a++) {
      lengths.push(Math.sqrt(product(column(matrix, count, a), column(matrix, count, a))));
      for (let b = 0; b < a; b++) {
        const inOneBlock = Math.floor(a / D) === Math.floor(b / D);
        const along = product(column(matrix, count, a), column(matrix, count, b));
        if (inOneBlock) expect(Math.abs(along)).toBeLessThan(1e-5);
      }
    }
    expect(Math.max(...lengths) - Math.min(...lengths)).toBeGreaterThan(0.1);
  });
});

describe('estimates approach what they estimate', () => {
  const random = new Random(11);
  const rows = Array.from({ length: 6 }, () => Float64Array.from({ length: D }, () => random.normal()));
  const asQuery = { side: 'query', scale: 1 / Math.sqrt(D) } as const;
  const asKey = { ...asQuery, side: 'key' } as const;
  const cosine = (a: Float64Array, b: Float64Array): number => product(a, b) / Math.sqrt(product(a, a) * product(b, b));

  it('performer: weights in the proportions of softmax', () => {
    const map = { name: 'performer', features: 20000, seed: 1 } as const;
    const [query, ...keys] = rows;
    const q = featuresOfRow(map, query, asQuery);
    const weights = keys.map((key) => product(q, featuresOfRow(map, key, asKey)));
    const powers = keys.map((key) => Math.exp(product(query, key) / Math.sqrt(D)));
    const share = (values: readonly number[]): number[] => values.map((x) => x / values.reduce((a, b) => a + b, 0));
    share(powers).forEach((expected, i) => {
      expect(Math.abs(share(weights)[i] - expected)).toBeLessThan(0.04);
    });
  });

  it('rfa: the Gaussian kernel of unit vectors', () => {
    const map = { name: 'rfa', features: 20000, seed: 1, scale: 0.8 } as const;
    for (const key of rows) {
      const weight = product(featuresOfRow(map, rows[0], asQuery), featuresOfRow(map, key, asKey));
      expect(Math.abs(weight - Math.exp(-(1 - cosine(rows[0], key)) / 0.64))).toBeLessThan(0.02);
    }
  });

  it('hashes: the collision probability', () => {
    const map = { name: 'hashes', hashes: 4000, bits: 3, seed: 1 } as const;
    for (const key of rows) {
      const weight = product(featuresOfRow(map, rows[0], asQuery), featuresOfRow(map, key, asKey));
      const angle = Math.acos(Math.min(1, cosine(rows[0], key)));
      expect(Math.abs(weight - (1 - angle / Math.PI) ** 3)).toBeLessThan(0.03);
    }
  });
});
