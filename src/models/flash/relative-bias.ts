/** FLASH's relative position bias, in T5's buckets. */
import type { Value } from '../../graph/graph.ts';
import { mul } from '../../graph/ops/elementwise.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { relativeBias as biasOfPairs, relativeBucket } from '../../nn/relative-positions.ts';

/** Rows of the table. */
export const biasBuckets = 32;
/** From this distance on all positions share a bucket. */
const farthest = 128;

/**
 * The bucket of a distance query − key. Causally, keys in the future have the bucket of distance 0; otherwise half of
 * the buckets are for them.
 */
export function biasBucket(distance: number, causal: boolean): number {
  return relativeBucket(distance, { buckets: biasBuckets, farthest, causal });
}

/** √S · table[bucket(i − j)] for queries i and keys j in one stretch of n positions: [n,n]. `table` is [32,1]. */
export function relativeBias(table: Value, length: number, queryKeyWidth: number, causal: boolean): Value {
  const bias = biasOfPairs(table, length, { buckets: biasBuckets, farthest, causal }); // [1,n,n]
  return mul(reshape(bias, [length, length]), Math.sqrt(queryKeyWidth));
}
