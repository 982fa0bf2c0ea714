/**
 * Visibility between positions in the layout of groups (`grouping.ts`): causal, or all tokens for an encoder. Mixers write
 * their branches once for both.
 */
import type { Value } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { add, mul, sub } from '../graph/ops/elementwise.ts';
import { pad, reshape } from '../graph/ops/layout.ts';
import { causalMask, earlierSums, type Grouping, laterSums } from './grouping.ts';

/** A large negative number for masked scores: its exponential is 0 in float32. */
export const maskedScore = -1e9;

/** Visible keys per group of queries, and sums over positions outside it. */
export interface AttentionMask {
  readonly queries: Grouping;
  /** Equals `queries` except in cross attention, where N = 1 and only the lengths differ. */
  readonly keys: Grouping;
  /** 1 if a query sees a key of its own group, else 0; broadcasts to [M,B·N,R·G,G]. */
  visible(like: Value): Value;
  /** 0 if a query sees a key of its own group, else `maskedScore`; broadcasts to [M,B·N,R·G,G]. */
  bias(like: Value): Value;
  /**
   * Queries times Σ keysᵀ·values over the positions outside their groups; undefined if there are none.
   * @param queries [M,B·N,R·G,X]
   * @param keys [M,B·N,G,X]
   * @param values [M,B·N,G,E]
   * @param fade factor on a group's sum per group between it and the queries' own; default 1
   * @returns [M,B·N,R·G,E]
   */
  outside(queries: Value, keys: Value, values: Value, fade?: number): Value | undefined;
}

/** Every position sees itself and its past. */
export function causalAttention(grouping: Grouping): AttentionMask {
  return {
    queries: grouping,
    keys: grouping,
    visible: (like) => causalMask(grouping, like, 1, 0),
    bias: (like) => causalMask(grouping, like, 0, maskedScore),
    outside: (queries, keys, values, fade) =>
      grouping.groups > 1 ? matmul(queries, earlierSums(grouping, keys, values, fade)) : undefined,
  };
}

/**
 * Every position sees all tokens; values at padded positions must be zero already.
 *
 * @param mask [B,n]: 1 for tokens, 0 for padding
 * @param grouped whether groups are read key by key, so that only other groups lie outside; else everything does
 */
export function fullAttention(queries: Grouping, keys: Grouping, mask: Value, grouped: boolean): AttentionMask {
  const visible = groupMask(keys, mask);
  return {
    queries,
    keys,
    visible: () => visible,
    bias: () => scoreBias(visible),
    outside(q, k, v, fade) {
      if (!grouped) return matmul(q, matmul(k, v, { transposeA: true }));
      if (keys.groups === 1) return undefined;
      // Two exclusive sums: the total minus the own group would lose digits.
      return matmul(q, add(earlierSums(keys, k, v, fade), laterSums(keys, k, v, fade)));
    },
  };
}

/** A 0/1 mask as a bias for scores: 0 for 1, else `maskedScore`. */
export function scoreBias(visible: Value): Value {
  return mul(sub(1, visible), maskedScore);
}

/** A mask [B,n] of keys in groups: [B·N,1,G]. Zeros pad the last group. */
export function groupMask({ batch: B, length, group: G, groups: N }: Grouping, mask: Value): Value {
  return reshape(pad(mask, 1, 0, N * G - length), [B * N, 1, G]);
}
