/**
 * Decays over whole sequences, which are cut into chunks of G positions (`grouping.ts`). A decay between two positions is the
 * exponential of a sum over the positions between them. It is summed over these alone, never as a difference of two running
 * sums, so that no digits are lost however long the text, and every exponent is at most 0.
 */
import type { Value } from '../../../graph/graph.ts';
import { broadcastTo, matmul, sum } from '../../../graph/ops/contraction.ts';
import { exp, mul } from '../../../graph/ops/elementwise.ts';
import { tensor } from '../../../graph/tensor.ts';
import { pad, reshape, slice } from '../../../graph/ops/layout.ts';
import { cumulativeSum } from '../../../graph/ops/scan.ts';
import type { Grouping } from '../../grouping.ts';

/** A triangle of ones [n,n]: column ≤ row, or column < row if it is strict. */
function triangle(like: Value, n: number, strict = false): Value {
  return like.graph.sharedConstant(`${strict ? 'strict ' : ''}triangle ${n}`, () =>
    tensor(
      'float32',
      [n, n],
      Float32Array.from({ length: n * n }, (_, i) => (i % n <= Math.floor(i / n) - (strict ? 1 : 0) ? 1 : 0)),
    ),
  );
}

/** Σ g_i, j < i ≤ t, in row t and column j; 0 where j ≥ t. @param g [A,B,n,1] → [A,B,n,n] */
function sumsBetween(g: Value): Value {
  const [A, B, n] = g.shape.map(Number);
  const past = mul(reshape(g, [A, B, 1, n]), triangle(g, n));
  return cumulativeSum(past, 3, { exclusive: true, reverse: true });
}

/** The decays of chunks. All are factors from 0 to 1. */
export interface ChunkDecays {
  /** From the end of position j to position t of the same chunk, 0 where j > t (with `strict`, j ≥ t): [M,B·N,G,G]. */
  readonly within: Value;
  /** From before the chunk to position t: [M,B·N,G,1]. */
  readonly fromStart: Value;
  /** From the end of position j to the end of the chunk: [M,B·N,G,1]. */
  readonly toEnd: Value;
  /** Over the whole chunk, as its logarithm: [M,B·N,1,1]. */
  readonly total: Value;
}

/** @param g log decays [M,B·N,G,1] @param strict whether a position does not read itself */
export function chunkDecays(g: Value, strict = false): ChunkDecays {
  const G = Number(g.shape[2]);
  return {
    within: mul(exp(sumsBetween(g)), triangle(g, G, strict)),
    fromStart: exp(cumulativeSum(g, 2)),
    toEnd: exp(cumulativeSum(g, 2, { exclusive: true, reverse: true })),
    total: sum(g, [2], true),
  };
}

/** Rows of a chunk per key-value head, [M,B·N,G,X], repeated for its query heads: [M,B·N,R·G,X]. */
export function forQueries({ repeat: R }: Grouping, rows: Value): Value {
  if (R === 1) return rows;
  const [M, BN, G, X] = rows.shape.map(Number);
  return reshape(broadcastTo(reshape(rows, [M, BN, 1, G, X]), [M, BN, R, G, X]), [M, BN, R * G, X]);
}

/**
 * The state before every chunk: the sum of the terms added by earlier chunks, decayed over the chunks between.
 * @param added [M,B·N,F,E]
 * @param total [M,B·N,1,1]
 * @returns [M,B·N,F,E]
 */
export function decayedSumsBefore(
  { batch: B, groups: N, keyValueHeads: M }: Grouping,
  added: Value,
  total: Value,
): Value {
  const [, , F, E] = added.shape.map(Number);
  const weights = mul(exp(sumsBetween(reshape(total, [M, B, N, 1]))), triangle(total, N)); // [M,B,N,N]
  const after = matmul(weights, reshape(added, [M, B, N, F * E]));
  return reshape(pad(slice(after, 2, 0, N - 1), 2, 1, 0), [M, B * N, F, E]);
}
