/** Sizes of named dimensions that are sums and products of others, such as "R+T" or "(R+T)*2" (`graph/shape` writes them). */

import { splitTerms } from '../graph/shape.ts';

/** The size of a dimension by those of plain names; undefined if one is not known. */
export type DimSize = (sizeOf: (name: string) => number | undefined) => number | undefined;

/** Reads the name of a dimension once, for all runs. */
export function compileDim(dim: string): DimSize {
  const terms = splitTerms(dim, '+');
  if (terms.length > 1) return combined(terms.map(compileDim), 0, (a, b) => a + b);
  const factors = splitTerms(dim, '*');
  if (factors.length > 1) return combined(factors.map(compileDim), 1, (a, b) => a * b);
  if (dim.startsWith('(') && dim.endsWith(')')) return compileDim(dim.slice(1, -1));
  const size = Number(dim);
  return /^\d+$/.test(dim) ? () => size : (sizeOf) => sizeOf(dim);
}

/** Whether a name is made of others. */
export function isCompound(dim: string): boolean {
  return /[+*]/.test(dim);
}

function combined(parts: readonly DimSize[], neutral: number, join: (a: number, b: number) => number): DimSize {
  return (sizeOf) => {
    let result = neutral;
    for (const part of parts) {
      const size = part(sizeOf);
      if (size === undefined) return undefined;
      result = join(result, size);
    }
    return result;
  };
}
