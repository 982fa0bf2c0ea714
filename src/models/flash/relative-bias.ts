/** Relative position bias in T5's buckets (Raffel et al., arXiv 1910.10683): exact near, logarithmic far. */
import type { Value } from '../../graph/graph.ts';
import { mul } from '../../graph/ops/elementwise.ts';
import { gather } from '../../graph/ops/indexing.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { int32 } from '../../graph/tensor.ts';

/** Rows of the table. */
export const biasBuckets = 32;
/** From this distance on all positions share a bucket. */
const farthest = 128;

/**
 * The bucket of a distance query − key. Causally, keys in the future have the bucket of distance 0; otherwise half of
 * the buckets are for them.
 */
export function biasBucket(distance: number, causal: boolean): number {
  const buckets = causal ? biasBuckets : biasBuckets / 2;
  const first = !causal && distance < 0 ? buckets : 0;
  const magnitude = causal ? Math.max(distance, 0) : Math.abs(distance);
  const exact = buckets / 2;
  if (magnitude < exact) return first + magnitude;
  const far = Math.floor((Math.log(magnitude / exact) / Math.log(farthest / exact)) * (buckets - exact));
  return first + Math.min(buckets - 1, exact + far);
}

/** √S · table[bucket(i − j)] for queries i and keys j in one stretch of n positions: [n,n]. `table` is [32,1]. */
export function relativeBias(table: Value, length: number, queryKeyWidth: number, causal: boolean): Value {
  const buckets = Int32Array.from({ length: length * length }, (_, i) =>
    biasBucket(Math.floor(i / length) - (i % length), causal),
  );
  const indices = table.graph.sharedConstant(`bias buckets n=${length} causal=${causal}`, () =>
    int32([length, length], buckets),
  );
  return mul(reshape(gather(table, indices), [length, length]), Math.sqrt(queryKeyWidth));
}
