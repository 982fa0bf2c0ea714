/**
 * How mixers with scores compute them: a factor on products of queries and keys, and a learned additive bias by distance.
 * Both belong to the model around the mixer; T5 has a bias and no scale.
 */
import type { Value } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { add, mul } from '../graph/ops/elementwise.ts';
import { int32 } from '../graph/tensor.ts';
import { gather } from '../graph/ops/indexing.ts';
import { reshape } from '../graph/ops/layout.ts';
import { type BucketScheme, relativeBias, relativeBucket } from '../nn/relative-positions.ts';
import type { AttentionMask } from './attention-mask.ts';
import { type Grouping, groupKeys, groupQueries } from './grouping.ts';
import type { HeadLayout } from './head-layout.ts';
import type { Horizon, ProjectedPositions, StepBlock } from './attention-layer.ts';

/** A learned bias by bucket of distance. */
export interface RelativeBias {
  /** [buckets,H] */
  readonly table: Value;
  readonly scheme: BucketScheme;
}

/** How a query and a key make a score: (q·k)·scale, plus the bias of their distance, if any. */
export interface Scoring {
  /** Multiplies q·k. */
  readonly scale: number;
  readonly bias?: RelativeBias;
}

/** Most models' scoring: q·k/√D. */
export function scaledScoring(headWidth: number): Scoring {
  return { scale: 1 / Math.sqrt(headWidth) };
}

/** The bias inside stretches of G positions, laid out by groups: [M,1,R·G,G]. */
export function biasInGroups(
  { table, scheme }: RelativeBias,
  { group: G, keyValueHeads: M, repeat: R }: Grouping,
): Value {
  return reshape(relativeBias(table, G, scheme), [M, 1, R * G, G]);
}

/** The bias by causal offset: row τ for τ = 0…reach, row reach + 1 for all larger offsets. [reach+2,H] */
export function biasByOffset({ table, scheme }: RelativeBias, reach: number): Value {
  const buckets = table.graph.sharedConstant(`bias buckets reach=${reach} ${JSON.stringify(scheme)}`, () =>
    int32(
      [reach + 2],
      Int32Array.from({ length: reach + 2 }, (_, offset) => relativeBucket(offset, { ...scheme, causal: true })),
    ),
  );
  return gather(table, buckets);
}

/** The bias for every node and row of a step: [B,M,R·T,rows]. @param offsets int32 [B,T,rows] */
export function biasOfRows(bias: RelativeBias, offsets: Value, reach: number, heads: HeadLayout): Value {
  return heads.perHead(gather(biasByOffset(bias, reach), offsets, 0))[0];
}

/** Scores of raw queries and keys inside groups: [M,B·N,R·G,G]. */
export function scoresInGroups(
  { queries, keys }: Pick<AttentionMask, 'queries' | 'keys'>,
  { q, k, scoring }: Pick<ProjectedPositions, 'q' | 'k'> & { readonly scoring: Scoring },
): Value {
  const products = matmul(mul(groupQueries(queries, q), scoring.scale), groupKeys(keys, k), { transposeB: true });
  return scoring.bias === undefined ? products : add(products, biasInGroups(scoring.bias, keys));
}

/** Scores of raw queries and all blocks' raw keys: [B,M,R·T,rows] each. */
export function scoresOfRows(
  { heads, scoring, horizon }: { readonly heads: HeadLayout; readonly scoring: Scoring; readonly horizon: Horizon },
  blocks: readonly StepBlock[],
): Value[] {
  const queries = mul(heads.joined, scoring.scale);
  const { bias } = scoring;
  return blocks.map(({ keys, masks }) => {
    const products = matmul(queries, keys, { transposeB: true });
    return bias === undefined ? products : add(products, biasOfRows(bias, masks.offsets, horizon.reach, heads));
  });
}
