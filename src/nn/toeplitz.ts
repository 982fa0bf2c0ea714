/**
 * Matrices that depend on the distance of row and column alone, [H,n,n] from 2·n numbers per matrix. One row of them is
 * repeated n times and cut into lines of 2·n − 1, which moves it by one place per line; so the gradient is a sum over n
 * rows, without adding n² numbers by index.
 */
import type { Value } from '../graph/graph.ts';
import { reshape, slice } from '../graph/ops/layout.ts';
import { broadcastTo } from '../graph/ops/contraction.ts';

/** Which column of `toeplitz`'s offsets is at every distance row − column, for −n < distance < n; column n is not read. */
export function toeplitzColumn(distance: number, n: number): number {
  return distance <= 0 ? -distance : 2 * n - distance;
}

/**
 * @param offsets [H,2n], see `toeplitzColumn`
 * @returns [H,n,n]
 */
export function toeplitz(offsets: Value, n: number): Value {
  const H = Number(offsets.shape[0]);
  const rows = broadcastTo(reshape(offsets, [H, 1, 2 * n]), [H, n, 2 * n]);
  const flat = slice(reshape(rows, [H, 2 * n * n]), 1, 0, n * (2 * n - 1));
  return slice(reshape(flat, [H, n, 2 * n - 1]), 2, 0, n);
}
