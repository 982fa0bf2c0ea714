/** Relative positions in T5's buckets (Raffel et al., arXiv 1910.10683): exact near, logarithmic far. */
import type { Value } from '../graph/graph.ts';
import { broadcastTo } from '../graph/ops/contraction.ts';
import { gather } from '../graph/ops/indexing.ts';
import { reshape, slice, transpose } from '../graph/ops/layout.ts';
import { int32 } from '../graph/tensor.ts';

/** How distances fall into buckets. */
export interface BucketScheme {
  /** Rows of the bias table; even. */
  readonly buckets: number;
  /** All positions from this distance on share a bucket. */
  readonly farthest: number;
  /** Whether future keys have no buckets of their own (they count as distance 0), or half of all buckets. */
  readonly causal: boolean;
}

/** The bucket of a distance query − key. */
export function relativeBucket(distance: number, { buckets, farthest, causal }: BucketScheme): number {
  const available = causal ? buckets : Math.floor(buckets / 2);
  const first = !causal && distance < 0 ? available : 0;
  const magnitude = causal ? Math.max(distance, 0) : Math.abs(distance);
  const exact = Math.floor(available / 2);
  if (magnitude < exact) return first + magnitude;
  const far = Math.floor((Math.log(magnitude / exact) / Math.log(farthest / exact)) * (available - exact));
  return first + Math.min(available - 1, exact + far);
}

/**
 * The learned bias for every query and key in a sequence of n positions.
 *
 * @param table [buckets,H]
 * @returns [H,n,n], queries first
 */
export function relativeBias(table: Value, length: number, scheme: BucketScheme): Value {
  const indices = table.graph.sharedConstant(`relative buckets n=${length} ${JSON.stringify(scheme)}`, () => {
    const buckets = new Int32Array(2 * length);
    for (let distance = 1 - length; distance < length; distance++) {
      buckets[toeplitzColumn(distance, length)] = relativeBucket(distance, scheme);
    }
    return int32([2 * length], buckets);
  });
  return toeplitz(transpose(gather(table, indices), [1, 0]), length);
}

/** `toeplitz`'s column of offsets for every distance row − column, −n < distance < n; column n is not read. */
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
