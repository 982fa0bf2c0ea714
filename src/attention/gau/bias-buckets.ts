/** FLASH's buckets of distances. */
import { type BucketScheme, relativeBucket } from '../../nn/relative-positions.ts';

/** Rows of the table of biases. */
export const biasBuckets = 32;

/** Every causal distance beyond it has its bucket. */
export const biasReach = 128;

/** The scheme of T5, with FLASH's numbers. */
export function biasScheme(causal: boolean): BucketScheme {
  return { buckets: biasBuckets, farthest: biasReach, causal };
}

/** The bucket of a distance query − key. */
export function biasBucket(distance: number, causal: boolean): number {
  return relativeBucket(distance, biasScheme(causal));
}
