/**
 * The masked depthwise convolution on V (paper, section 4.2) as products with banded Toeplitz matrices.
 *
 * One filter of K weights per query head, shared by the head's channels. Index P = (K−1)/2 is "now", index P − τ is offset
 * τ; weights beyond P read the future and are multiplied by 0, so they get no gradient either. A filter over a block of C
 * positions is a matrix [C, window], gathered from the weights by a constant 0/1 matrix: the forward pass and the gradients
 * of filter and values are then plain matrix products, 2 to 3 times faster than Conv.
 */
import type { Value } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { add } from '../graph/ops/elementwise.ts';
import { tensor } from '../graph/tensor.ts';
import { concat, pad, reshape, slice, transpose } from '../graph/ops/layout.ts';
import { toeplitz, toeplitzColumn } from '../nn/relative-positions.ts';
import { groupKeys, type Grouping, makeGrouping, ungroupQueries } from './grouping.ts';
import { type ConvolutionConfig, convolutionReach, filterName } from './convolution-config.ts';
import type { MixerParameterValues } from './mixer.ts';

/** Blocks of 64 positions are fastest on CPU (blocks of 256 take twice the time). */
const preferredBlock = 64;

/**
 * Convolves grouped values.
 *
 * @param values [M,B·N,G,E]
 * @param filter the parameter [H,1,K,1]
 * @param masked false also applies the future's weights (Figure 4's leak)
 * @returns [M,B·N,R·G,E]
 */
function convolveGroups(grouping: Grouping, values: Value, filter: Value, masked: boolean): Value {
  const { batch: B, group: G, groups: N, keyValueHeads: M, repeat: R } = grouping;
  const E = values.shape[3];
  const K = Number(filter.shape[2]);
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

  const banded = matmul(reshape(filter, [M * R, K]), selection(filter, K, C, before, width, masked)); // [H, C*width]
  const toeplitz = reshape(banded, [M, 1, R * C, width]);
  const convolved = matmul(toeplitz, window); // [M, B*blocks, R*C, E]
  if (C === G) return convolved;
  const perGroup = reshape(convolved, [M, B * N, G / C, R, C, E]);
  return reshape(transpose(perGroup, [0, 1, 3, 2, 4, 5]), [M, B * N, R * G, E]);
}

/**
 * Convolves values in their own order, for mixers with groups of any length: a group's banded matrix has its length
 * squared.
 *
 * @param grouping gives batch, length and heads
 * @param v [B,n,M,E]; zeros at positions that must not be read
 * @param filter the parameter [H,1,K,1]
 * @param masked false also applies the future's weights
 * @returns [B,n,H,E]
 */
function convolvePositions(
  { batch, length, keyValueHeads, repeat }: Grouping,
  v: Value,
  filter: Value,
  masked: boolean,
): Value {
  const small = makeGrouping(batch, length, preferredBlock, keyValueHeads * repeat, keyValueHeads);
  return ungroupQueries(small, convolveGroups(small, groupKeys(small, v), filter, masked));
}

/**
 * The convolution inside groups as weights to add to a local branch's, which saves a product. `addReachOfGroupBefore` does
 * the rest.
 *
 * @param filter the parameter [H,1,K,1]
 * @returns [M,1,R·G,G]
 */
export function weightsInGroup({ group: G, keyValueHeads: M, repeat: R }: Grouping, filter: Value): Value {
  const K = Number(filter.shape[2]);
  const reach = convolutionReach(K);
  const band = toeplitz(
    placedFilter(filter, G, (distance) => (distance <= reach ? distance : -1)),
    G,
  ); // [H,G,G]
  return reshape(band, [M, 1, R * G, G]);
}

/**
 * Adds the convolution's terms from the previous group to `mixed`, for a reach P below G.
 *
 * @param mixed [M,B·N,R·G,E]
 * @param values [M,B·N,G,E]
 * @param filter the parameter [H,1,K,1]
 */
export function addReachOfGroupBefore(grouping: Grouping, mixed: Value, values: Value, filter: Value): Value {
  const { batch: B, group: G, groups: N, keyValueHeads: M, repeat: R } = grouping;
  const E = values.shape[3];
  const P = convolutionReach(Number(filter.shape[2]));
  if (N === 1 || P === 0) return mixed;
  // Row i of a group meets column j of the last P rows before it at offset P + i − j, unless that exceeds P.
  const weights = toeplitz(
    placedFilter(filter, P, (distance) => (distance <= 0 ? P + distance : -1)),
    P,
  ); // [H,P,P]
  const last = reshape(slice(values, 2, G - P, G), [M, B, N, P, E]);
  const before = reshape(shiftBlocks(last, -1), [M, B * N, P, E]);
  const reached = matmul(reshape(weights, [M, 1, R * P, P]), before); // [M,B*N,R*P,E]
  const rows = pad(reshape(reached, [M, B * N, R, P, E]), 3, 0, G - P);
  return add(mixed, reshape(rows, [M, B * N, R * G, E]));
}

/** Filter weights by distance row − column, as `toeplitz` takes them: [H,2n]. `offsetAt` is negative for none. */
function placedFilter(filter: Value, n: number, offsetAt: (distance: number) => number): Value {
  const H = Number(filter.shape[0]);
  const K = Number(filter.shape[2]);
  const reach = convolutionReach(K);
  const offsets = Array.from({ length: 2 * n - 1 }, (_, i) => offsetAt(i + 1 - n));
  const placed = filter.graph.sharedConstant(`filter offsets K=${K} n=${n} ${offsets[0]} ${offsets[n]}`, () => {
    const ones = new Float32Array(K * 2 * n);
    for (const [i, offset] of offsets.entries()) {
      if (offset >= 0 && offset <= reach) ones[(reach - offset) * 2 * n + toeplitzColumn(i + 1 - n, n)] = 1;
    }
    return tensor('float32', [K, 2 * n], ones);
  });
  return matmul(reshape(filter, [H, K]), placed);
}

/** Block b of the result is block b + shift of the input, zeros outside the sequence. [M,B,blocks,C,E] */
export function shiftBlocks(blocks: Value, shift: number): Value {
  const count = Number(blocks.shape[2]);
  if (shift === 0) return blocks;
  if (shift < 0) return pad(slice(blocks, 2, 0, count + shift), 2, -shift, 0);
  return pad(slice(blocks, 2, shift, count), 2, 0, shift);
}

/** 0/1 matrix [K, C·width]: where each filter weight stands in the Toeplitz matrix. */
function selection(filter: Value, K: number, C: number, before: number, width: number, masked: boolean): Value {
  const key = `convolution filter K=${K} C=${C} before=${before} width=${width} masked=${masked}`;
  return filter.graph.sharedConstant(key, () => {
    const reach = convolutionReach(K);
    const ones = new Float32Array(K * C * width);
    for (let row = 0; row < C; row++) {
      for (let column = 0; column < width; column++) {
        const offset = before * C + row - column;
        if (offset < (masked ? 0 : -reach) || offset > reach) continue;
        ones[(reach - offset) * C * width + row * width + column] = 1;
      }
    }
    return tensor('float32', [K, C * width], ones);
  });
}

/**
 * Filter weights by offset for the step form: column τ ≤ P is the weight at offset τ; later columns are zero, the last for
 * unseen positions.
 *
 * @param filter the parameter [H,1,K,1]
 * @param farthest the largest offset with its own column; default P
 * @returns [H, farthest + 2]
 */
export function filterByOffset(filter: Value, farthest = convolutionReach(Number(filter.shape[2]))): Value {
  const H = Number(filter.shape[0]);
  const K = Number(filter.shape[2]);
  const reach = convolutionReach(K);
  const reversal = filter.graph.sharedConstant(`filter by offset K=${K} farthest=${farthest}`, () => {
    const ones = new Float32Array(K * (farthest + 2));
    for (let offset = 0; offset <= reach; offset++) ones[(reach - offset) * (farthest + 2) + offset] = 1;
    return tensor('float32', [K, farthest + 2], ones);
  });
  return matmul(reshape(filter, [H, K]), reversal);
}

/** Adds the convolution of v [B,n,M,E] to `mixed` [B,n,H,E], if the mixer has one. */
export function addConvolution(
  convolution: ConvolutionConfig | null,
  mixed: Value,
  grouping: Grouping,
  v: Value,
  parameters: MixerParameterValues,
): Value {
  const filter = parameters[filterName];
  if (convolution === null || filter === undefined) return mixed;
  return add(mixed, convolvePositions(grouping, v, filter, convolution.masked));
}

/** Adds the convolution of v [B,n,M,E] to `mixed` [M,B·N,R·G,E], if the mixer has one; undefined without either. */
export function addGroupedConvolution<Mixed extends Value | undefined>(
  convolution: ConvolutionConfig | null,
  mixed: Mixed,
  grouping: Grouping,
  v: Value,
  parameters: MixerParameterValues,
): Mixed | Value {
  const filter = parameters[filterName];
  if (convolution === null || filter === undefined) return mixed;
  const filtered = convolveGroups(grouping, groupKeys(grouping, v), filter, convolution.masked);
  return mixed === undefined ? filtered : add(mixed, filtered);
}

/** An encoder's convolution of v [B,n,M,E], with all K weights: [B,n,H,E]; undefined for a mixer without one. */
export function centredConvolution(
  convolution: ConvolutionConfig | null,
  grouping: Grouping,
  v: Value,
  parameters: MixerParameterValues,
): Value | undefined {
  const filter = parameters[filterName];
  if (convolution === null || filter === undefined) return undefined;
  return convolvePositions(grouping, v, filter, false);
}
