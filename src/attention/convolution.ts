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
  const reach = convolutionReach(Number(filter.shape[2]));
  const C = G % preferredBlock === 0 ? preferredBlock : G;
  const blocks = (N * G) / C;
  const before = Math.min(Math.ceil(reach / C), blocks - 1);
  const after = masked ? 0 : before;

  const ordered = reshape(values, [M, B, blocks, C, E]);
  const windows: Value[] = [];
  for (let shift = -before; shift <= after; shift++) windows.push(shiftBlocks(ordered, shift));
  const width = windows.length * C;
  const window = reshape(concat(windows, 3), [M, B * blocks, width, E]);

  const offsetAt = (place: number): number => before * C + Math.floor(place / width) - (place % width);
  const banded = placedWeights(filter, `${width} by ${before}`, C * width, offsetAt, masked ? 0 : -reach); // [H, C*width]
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
  return reshape(bandOf(filter, G, 0), [M, 1, R * G, G]);
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
  const weights = bandOf(filter, P, P); // from the last P rows of the group before
  const last = reshape(slice(values, 2, G - P, G), [M, B, N, P, E]);
  const before = reshape(shiftBlocks(last, -1), [M, B * N, P, E]);
  const reached = matmul(reshape(weights, [M, 1, R * P, P]), before); // [M,B*N,R*P,E]
  const rows = pad(reshape(reached, [M, B * N, R, P, E]), 3, 0, G - P);
  return add(mixed, reshape(rows, [M, B * N, R * G, E]));
}

/** The filter as a matrix [H,n,n]: row i meets column j at offset `first` + i − j. */
function bandOf(filter: Value, n: number, first: number): Value {
  const offsets = new Int32Array(2 * n).fill(-1);
  for (let distance = 1 - n; distance < n; distance++) offsets[toeplitzColumn(distance, n)] = first + distance;
  return toeplitz(
    placedWeights(filter, `from ${first}`, 2 * n, (column) => offsets[column]),
    n,
  );
}

/** Block b of the result is block b + shift of the input, zeros outside the sequence. [M,B,blocks,C,E] */
export function shiftBlocks(blocks: Value, shift: number): Value {
  const count = Number(blocks.shape[2]);
  if (shift === 0) return blocks;
  if (shift < 0) return pad(slice(blocks, 2, 0, count + shift), 2, -shift, 0);
  return pad(slice(blocks, 2, shift, count), 2, 0, shift);
}

/**
 * Filter weights by place, zeros where `offsetAt` is outside `least`…P: [H,places].
 *
 * @param key the name of `offsetAt` in the graph
 * @param least the smallest offset with a weight; below 0, the future's weights are read
 */
function placedWeights(
  filter: Value,
  key: string,
  places: number,
  offsetAt: (place: number) => number,
  least = 0,
): Value {
  const [H, , K] = filter.shape.map(Number);
  const reach = convolutionReach(K);
  const selection = filter.graph.sharedConstant(`filter K=${K} from ${least} in ${places} places, ${key}`, () => {
    const ones = new Float32Array(K * places);
    for (let place = 0; place < places; place++) {
      const offset = offsetAt(place);
      if (offset >= least && offset <= reach) ones[(reach - offset) * places + place] = 1;
    }
    return tensor('float32', [K, places], ones);
  });
  return matmul(reshape(filter, [H, K]), selection);
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
  return placedWeights(filter, 'by offset', farthest + 2, (offset) => offset);
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
