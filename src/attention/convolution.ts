/**
 * The masked depthwise convolution on V (paper, section 4.2) as products with banded Toeplitz matrices.
 *
 * One filter of K taps per query head, shared by the head's channels. Tap index P = (K−1)/2 is "now", tap P − τ is
 * lag τ, taps beyond P read the future and are multiplied by 0, so that they get no gradient either. A filter over a
 * block of C positions is a matrix [C, window], gathered from the taps by a constant 0/1 matrix: forward, tap gradient
 * and value gradient are then plain matrix products, 2 to 3 times faster than Conv.
 */
import type { Value } from '../graph/graph.ts';
import { add } from '../graph/ops/elementwise.ts';
import { matmul } from '../graph/ops/matmul.ts';
import { concat, pad, reshape, slice, transpose } from '../graph/ops/layout.ts';
import { tensor } from '../graph/tensor.ts';
import { toeplitz, toeplitzColumn } from '../nn/toeplitz.ts';
import { groupKeys, type Grouping, makeGrouping, ungroupQueries } from './grouping.ts';
import { convolutionReach } from './mixer.ts';

/** Blocks of 64 positions are the fastest on CPU (a block of 256 takes twice the time). */
const preferredBlock = 64;

/**
 * Convolves grouped values.
 *
 * @param values [M,B·N,G,E]
 * @param taps the parameter [H,1,K,1]
 * @param masked false also applies the future taps (the leak of Figure 4)
 * @returns [M,B·N,R·G,E]
 */
export function convolveGroups(grouping: Grouping, values: Value, taps: Value, masked: boolean): Value {
  const { batch: B, group: G, groups: N, keyValueHeads: M, repeat: R } = grouping;
  const E = values.shape[3];
  const K = Number(taps.shape[2]);
  const C = G % preferredBlock === 0 ? preferredBlock : G;
  const blocks = (N * G) / C;
  const reach = convolutionReach(K);
  const before = Math.min(Math.ceil(reach / C), blocks - 1);
  const after = masked ? 0 : before;

  const ordered = reshape(values, [M, B, blocks, C, E]);
  const windows: Value[] = [];
  for (let shift = -before; shift <= after; shift++) windows.push(shiftBlocks(ordered, shift));
  const width = windows.length * C;
  const window = reshape(concat(windows, 3), [M, B * blocks, width, E]);

  const banded = matmul(reshape(taps, [M * R, K]), selection(taps, K, C, before, width, masked)); // [H, C*width]
  const toeplitz = reshape(banded, [M, 1, R * C, width]);
  const convolved = matmul(toeplitz, window); // [M, B*blocks, R*C, E]
  if (C === G) return convolved;
  const perGroup = reshape(convolved, [M, B * N, G / C, R, C, E]);
  return reshape(transpose(perGroup, [0, 1, 3, 2, 4, 5]), [M, B * N, R * G, E]);
}

/**
 * Convolves values in their own order, for a mixer whose groups are of any length: the banded matrix of a group has the
 * square of its length.
 *
 * @param grouping whose batch, length and heads are meant
 * @param v [B,n,M,E]; zeros where nothing may be read
 * @param taps the parameter [H,1,K,1]
 * @param masked false also applies the future taps
 * @returns [B,n,H,E]
 */
export function convolvePositions(
  { batch, length, keyValueHeads, repeat }: Grouping,
  v: Value,
  taps: Value,
  masked: boolean,
): Value {
  const small = makeGrouping(batch, length, preferredBlock, keyValueHeads * repeat, keyValueHeads);
  return ungroupQueries(small, convolveGroups(small, groupKeys(small, v), taps, masked));
}

/**
 * The convolution inside groups as weights, to be added to those of a local branch: what the group itself contributes then
 * costs no product of its own. The rest is `addReachOfGroupBefore`.
 *
 * @param taps the parameter [H,1,K,1]
 * @returns [M,1,R·G,G]
 */
export function weightsInGroup({ group: G, keyValueHeads: M, repeat: R }: Grouping, taps: Value): Value {
  const K = Number(taps.shape[2]);
  const reach = convolutionReach(K);
  const band = toeplitz(
    placedTaps(taps, G, (distance) => (distance <= reach ? distance : -1)),
    G,
  ); // [H,G,G]
  return reshape(band, [M, 1, R * G, G]);
}

/**
 * `mixed` plus what the convolution reads from the group before, for a reach P below G.
 *
 * @param mixed [M,B·N,R·G,E]
 * @param values [M,B·N,G,E]
 * @param taps the parameter [H,1,K,1]
 */
export function addReachOfGroupBefore(grouping: Grouping, mixed: Value, values: Value, taps: Value): Value {
  const { batch: B, group: G, groups: N, keyValueHeads: M, repeat: R } = grouping;
  const E = values.shape[3];
  const P = convolutionReach(Number(taps.shape[2]));
  if (N === 1 || P === 0) return mixed;
  // Row i of a group meets column j of the last P rows before it at lag P + i − j, if that is at most P.
  const weights = toeplitz(
    placedTaps(taps, P, (distance) => (distance <= 0 ? P + distance : -1)),
    P,
  ); // [H,P,P]
  const last = reshape(slice(values, 2, G - P, G), [M, B, N, P, E]);
  const before = reshape(shiftBlocks(last, -1), [M, B * N, P, E]);
  const reached = matmul(reshape(weights, [M, 1, R * P, P]), before); // [M,B*N,R*P,E]
  const rows = pad(reshape(reached, [M, B * N, R, P, E]), 3, 0, G - P);
  return add(mixed, reshape(rows, [M, B * N, R * G, E]));
}

/** Taps by distance row − column, as `toeplitz` wants them: [H,2n]. `lagAt` is negative where there is no tap. */
function placedTaps(taps: Value, n: number, lagAt: (distance: number) => number): Value {
  const H = Number(taps.shape[0]);
  const K = Number(taps.shape[2]);
  const reach = convolutionReach(K);
  const lags = Array.from({ length: 2 * n - 1 }, (_, i) => lagAt(i + 1 - n));
  const places = taps.graph.sharedConstant(`tap places K=${K} n=${n} ${lags[0]} ${lags[n]}`, () => {
    const ones = new Float32Array(K * 2 * n);
    for (const [i, lag] of lags.entries()) {
      if (lag >= 0 && lag <= reach) ones[(reach - lag) * 2 * n + toeplitzColumn(i + 1 - n, n)] = 1;
    }
    return tensor('float32', [K, 2 * n], ones);
  });
  return matmul(reshape(taps, [H, K]), places);
}

/** Block b of the result is block b + shift of the input, zeros outside the sequence. [M,B,blocks,C,E] */
function shiftBlocks(blocks: Value, shift: number): Value {
  const count = Number(blocks.shape[2]);
  if (shift === 0) return blocks;
  if (shift < 0) return pad(slice(blocks, 2, 0, count + shift), 2, -shift, 0);
  return pad(slice(blocks, 2, shift, count), 2, 0, shift);
}

/** 0/1 matrix [K, C·width]: which tap stands at which place of the Toeplitz matrix. */
function selection(taps: Value, K: number, C: number, before: number, width: number, masked: boolean): Value {
  const key = `convolution taps K=${K} C=${C} before=${before} width=${width} masked=${masked}`;
  return taps.graph.sharedConstant(key, () => {
    const reach = convolutionReach(K);
    const ones = new Float32Array(K * C * width);
    for (let row = 0; row < C; row++) {
      for (let column = 0; column < width; column++) {
        const lag = before * C + row - column;
        if (lag < (masked ? 0 : -reach) || lag > reach) continue;
        ones[(reach - lag) * C * width + row * width + column] = 1;
      }
    }
    return tensor('float32', [K, C * width], ones);
  });
}

/**
 * Taps by lag for the step form: column τ ≤ P is the tap of lag τ, later columns are zero, the last for positions that
 * are not seen.
 *
 * @param taps the parameter [H,1,K,1]
 * @param farthest the largest lag that is told apart; default P
 * @returns [H, farthest + 2]
 */
export function tapsByLag(taps: Value, farthest = convolutionReach(Number(taps.shape[2]))): Value {
  const H = Number(taps.shape[0]);
  const K = Number(taps.shape[2]);
  const reach = convolutionReach(K);
  const reversal = taps.graph.sharedConstant(`taps by lag K=${K} farthest=${farthest}`, () => {
    const ones = new Float32Array(K * (farthest + 2));
    for (let lag = 0; lag <= reach; lag++) ones[(reach - lag) * (farthest + 2) + lag] = 1;
    return tensor('float32', [K, farthest + 2], ones);
  });
  return matmul(reshape(taps, [H, K]), reversal);
}
