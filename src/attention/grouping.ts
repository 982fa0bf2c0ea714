/**
 * Cuts positions into groups, the parallel form's layout: heads outermost, so that sums over batch and groups run over
 * adjacent axes (up to 39 times faster on CPU than over scattered ones).
 *
 * B batch, n positions, N = ⌈n/G⌉ groups, M key-value heads, R query heads per key-value head (H = M·R), D head width.
 */
import type { Value } from '../graph/graph.ts';
import { add } from '../graph/ops/elementwise.ts';
import { pad, reshape, slice, transpose } from '../graph/ops/layout.ts';
import { broadcastTo, matmul } from '../graph/ops/contraction.ts';
import { tensor } from '../graph/tensor.ts';
import { cumulativeSum } from '../graph/ops/recurrence.ts';
import type { ProjectedPositions } from './attention-layer.ts';

/** Sizes of a grouped sequence. */
export interface Grouping {
  readonly batch: number;
  readonly length: number;
  /** G; the whole sequence if it is shorter than the configured group. */
  readonly group: number;
  /** N. */
  readonly groups: number;
  /** M. */
  readonly keyValueHeads: number;
  /** R. */
  readonly repeat: number;
}

export function makeGrouping(
  batch: number,
  length: number,
  group: number,
  heads: number,
  keyValueHeads: number,
): Grouping {
  const size = Math.min(group, length);
  return { batch, length, group: size, groups: Math.ceil(length / size), keyValueHeads, repeat: heads / keyValueHeads };
}

/** Groups projected positions q [B,n,H,D] and k [B,n,M,D]. @param group G; Infinity for one group */
export function groupingOf({ q, k }: Pick<ProjectedPositions, 'q' | 'k'>, group: number): Grouping {
  const [batch, length, heads] = q.shape.map(Number);
  return makeGrouping(batch, length, group, heads, Number(k.shape[2]));
}

/** Queries [B,n,H,D] → [M,B·N,R·G,D]: queries that share keys lie in one matrix. Padding positions are zero. */
export function groupQueries(grouping: Grouping, q: Value): Value {
  const { batch: B, length, group: G, groups: N, keyValueHeads: M, repeat: R } = grouping;
  const D = q.shape[3];
  const padded = pad(q, 1, 0, N * G - length);
  const split = reshape(padded, [B, N, G, M, R, D]);
  return reshape(transpose(split, [3, 0, 1, 4, 2, 5]), [M, B * N, R * G, D]);
}

/** Keys or values [B,n,M,D] → [M,B·N,G,D]. */
export function groupKeys(grouping: Grouping, k: Value): Value {
  const { batch: B, length, group: G, groups: N, keyValueHeads: M } = grouping;
  const D = k.shape[3];
  const padded = pad(k, 1, 0, N * G - length);
  return reshape(transpose(reshape(padded, [B, N * G, M, D]), [2, 0, 1, 3]), [M, B * N, G, D]);
}

/** The inverse of `groupQueries`, without the padding: [M,B·N,R·G,D] → [B,n,H,D]. */
export function ungroupQueries(grouping: Grouping, grouped: Value): Value {
  const { batch: B, length, group: G, groups: N, keyValueHeads: M, repeat: R } = grouping;
  const D = grouped.shape[3];
  const split = reshape(grouped, [M, B, N, R, G, D]);
  const flat = reshape(transpose(split, [1, 2, 4, 0, 3, 5]), [B, N * G, M * R, D]);
  return slice(flat, 1, 0, length);
}

/** The shape of values repeated for each query head: [M,B·N,R·G,E]. */
export function repeatedShape(
  { group: G, groups: N, batch: B, keyValueHeads: M, repeat: R }: Grouping,
  valueWidth: number,
): number[] {
  return [M, B * N, R * G, valueWidth];
}

/** Repeats rows [M,B·N,G,X] for each query head that shares them: [M,B·N,R·G,X]. */
export function repeatRows({ repeat: R }: Grouping, rows: Value): Value {
  if (R === 1) return rows;
  const [M, BN, G, X] = rows.shape.map(Number);
  return reshape(broadcastTo(reshape(rows, [M, BN, 1, G, X]), [M, BN, R, G, X]), [M, BN, R * G, X]);
}

/** [R·G,G]: `visible` for key j ≤ query i inside the group, else `masked`; repeated for the R heads that share keys. */
export function causalMask(grouping: Grouping, like: Value, visible: number, masked: number): Value {
  const { group: G, repeat: R } = grouping;
  return like.graph.sharedConstant(`causal mask G=${G} R=${R} ${visible} ${masked}`, () => {
    const mask = new Float32Array(R * G * G);
    for (let row = 0; row < R * G; row++) {
      for (let column = 0; column < G; column++) mask[row * G + column] = column <= row % G ? visible : masked;
    }
    return tensor('float32', [R * G, G], mask);
  });
}

/**
 * Σ keysᵀ·values over all earlier groups, for every group: exclusive, since the current group is read row by row.
 * @param keys [M,B·N,G,X]
 * @param values [M,B·N,G,E]
 * @param fade factor on a group's sum per group between it and the current one
 * @returns [M,B·N,X,E]
 */
export function earlierSums(grouping: Grouping, keys: Value, values: Value, fade = 1): Value {
  return sumsBeside(grouping, keys, values, { reverse: false, fade });
}

/** Σ keysᵀ·values over all later groups, for every group: `earlierSums` from the end. */
export function laterSums(grouping: Grouping, keys: Value, values: Value, fade = 1): Value {
  return sumsBeside(grouping, keys, values, { reverse: true, fade });
}

function sumsBeside(
  { batch: B, groups: N, keyValueHeads: M }: Grouping,
  keys: Value,
  values: Value,
  { reverse, fade }: { readonly reverse: boolean; readonly fade: number },
): Value {
  const [X, E] = [Number(keys.shape[3]), Number(values.shape[3])];
  const products = matmul(keys, values, { transposeA: true }); // [M,B*N,X,E]
  if (fade !== 1) {
    return reshape(fadedSums(reshape(products, [M, B, N, X * E]), reverse, fade), [M, B * N, X, E]);
  }
  const sums = cumulativeSum(reshape(products, [M, B, N, X, E]), 2, { exclusive: true, reverse });
  return reshape(sums, [M, B * N, X, E]);
}

/** Groups whose factors on each other are one constant. */
const blockGroups = 256;

/** Sums over one side's groups [M,B,N,F], faded by distance; many groups are summed inside blocks first, then over blocks. */
function fadedSums(values: Value, reverse: boolean, fade: number): Value {
  const [M, B, N, F] = values.shape.map(Number);
  if (N <= blockGroups) return matmul(fadedGroups(values, N, reverse, fade), values);
  const size = blockGroups;
  const blocks = Math.ceil(N / size);
  const cut = reshape(pad(values, 2, 0, blocks * size - N), [M, B * blocks, size, F]);
  const inside = matmul(fadedGroups(values, size, reverse, fade), cut);
  // A block as the next one's first group reads it, and the neighboring blocks' share in every group.
  const powers = (rising: boolean): Value =>
    values.graph.sharedNumbers(
      `powers of ${fade}, ${rising}`,
      [1, 1, 1, size],
      (i) => fade ** (rising ? i : size - 1 - i),
    );
  const whole = reshape(matmul(powers(reverse), cut), [M, B, blocks, F]);
  const beside = reshape(fadedSums(whole, reverse, fade ** size), [M, B * blocks, 1, F]);
  const given = matmul(reshape(powers(!reverse), [1, 1, size, 1]), beside);
  return slice(reshape(add(inside, given), [M, B, blocks * size, F]), 2, 0, N);
}

/** Every group's factor for every reading group, 0 for itself and the other side: [1,1,N,N]. */
function fadedGroups(like: Value, N: number, reverse: boolean, fade: number): Value {
  return like.graph.sharedNumbers(`faded groups N=${N} ${reverse} ${fade}`, [1, 1, N, N], (i) => {
    const distance = (Math.floor(i / N) - (i % N)) * (reverse ? -1 : 1);
    return distance < 1 ? 0 : fade ** (distance - 1);
  });
}
