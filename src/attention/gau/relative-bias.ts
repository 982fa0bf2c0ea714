/** The bias of scores by distance in a gated attention unit: √S times a learned number per bucket. */
import type { Value } from '../../graph/graph.ts';
import { mul } from '../../graph/ops/elementwise.ts';
import { gather } from '../../graph/ops/indexing.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { int32 } from '../../graph/tensor.ts';
import { relativeBias as biasOfPairs } from '../../nn/relative-positions.ts';
import { biasBucket, biasScheme } from './bias-buckets.ts';

/** √S · table[bucket(i − j)] for queries i and keys j in one stretch of n positions: [n,n]. `table` is [32,1]. */
export function relativeBias(table: Value, length: number, queryKeyWidth: number, causal: boolean): Value {
  const bias = biasOfPairs(mul(table, Math.sqrt(queryKeyWidth)), length, biasScheme(causal)); // [1,n,n]
  return reshape(bias, [length, length]);
}

/** √S · table[bucket(τ)] by causal distance: row τ for τ = 0…reach, and the last bucket's in row reach + 1. [reach+2,1] */
export function biasByLag(table: Value, reach: number, queryKeyWidth: number): Value {
  const indices = table.graph.sharedConstant(`bias buckets by lag reach=${reach}`, () =>
    int32(
      [reach + 2],
      Int32Array.from({ length: reach + 2 }, (_, lag) => biasBucket(lag, true)),
    ),
  );
  return mul(gather(table, indices), Math.sqrt(queryKeyWidth));
}
