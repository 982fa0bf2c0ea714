/**
 * The parallel form of a mixer: a whole sequence at once, for training, prefill measurements and perplexity.
 *
 * The same formula as naive.ts (paper, section 4), computed group by group: the local branch is a [G,G] product inside
 * each group, the global branch multiplies by an exclusive prefix sum over the groups' k̂ᵀv, the convolution is a banded
 * product. Cost per position is constant in n.
 */
import type { Value } from '../graph/graph.ts';
import { add, addAll, div, mul } from '../graph/ops/elementwise.ts';
import { broadcastTo, sum } from '../graph/ops/reduce.ts';
import { matmul } from '../graph/ops/matmul.ts';
import { unitLength } from '../graph/ops/normalization.ts';
import { maskedReluSquared } from '../graph/ops/relu-squared.ts';
import { cumulativeSum } from '../graph/ops/scan.ts';
import { reshape } from '../graph/ops/layout.ts';
import { softmax } from '../graph/ops/softmax.ts';
import { sqrt } from '../graph/ops/unary.ts';
import { tensor, zeros } from '../graph/tensor.ts';
import { convolveGroups } from './convolution.ts';
import { groupKeys, type Grouping, groupQueries, makeGrouping, ungroupQueries } from './grouping.ts';
import type { LinearMixer, MixerConfig } from './mixer.ts';

/** The learned parameters a mixer may have, by the names of `mixerParameters`. */
export interface MixerParameterValues {
  /** λ [1]. */
  readonly local_factor?: Value;
  /** α [1]. */
  readonly global_factor?: Value;
  /** Convolution taps [H,1,K,1]. */
  readonly 'dwconv.weight'?: Value;
}

/** Queries [B,n,H,D], keys and values [B,n,M,D]; H is a multiple of M. All after rotary embedding. */
export interface ProjectedPositions {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
}

/** A large negative number for hidden scores: its exponential is 0 in float32. */
export const hiddenScore = -1e9;

/** ε of the NORM variants: x / (ε + ‖x‖). */
export const normEpsilon = 1e-5;

/**
 * Mixes the positions of whole sequences.
 *
 * Sequences of a batch that are shorter than n are padded at the end: nothing flows from later to earlier positions,
 * so padding does not disturb them.
 *
 * @returns [B,n,H,E]
 */
export function mixParallel(
  config: MixerConfig,
  positions: ProjectedPositions,
  parameters: MixerParameterValues,
): Value {
  const { q, k } = positions;
  const [batch, length, heads] = q.shape.map(Number);
  const group = config.kind === 'softmax' ? length : config.group;
  const grouping = makeGrouping(batch, length, group, heads, Number(k.shape[2]));
  if (config.kind === 'softmax') {
    const mixed = localSoftmax(
      grouping,
      groupQueries(grouping, q),
      groupKeys(grouping, k),
      groupKeys(grouping, positions.v),
    );
    return ungroupQueries(grouping, mixed);
  }
  return ungroupQueries(grouping, mixGroups(config, grouping, positions, parameters));
}

/** [M,B·N,R·G,E] */
function mixGroups(
  config: LinearMixer,
  grouping: Grouping,
  { q, k, v }: ProjectedPositions,
  parameters: MixerParameterValues,
): Value {
  const values = groupKeys(grouping, v);
  const unitQueries = groupQueries(grouping, unitLength(q));
  const unitKeys = groupKeys(grouping, unitLength(k));

  const branches: Value[] = [];
  if (config.local !== null) {
    const local =
      config.local.kernel === 'relu2'
        ? localReluSquared(grouping, unitQueries, unitKeys, values)
        : localSoftmax(grouping, groupQueries(grouping, q), groupKeys(grouping, k), values);
    branches.push(scaled(local, parameters.local_factor));
  }
  if (config.global !== null && grouping.groups > 1) {
    const global = globalBranch(grouping, unitQueries, unitKeys, values);
    branches.push(scaled(config.normalize === 'global' ? boundedLength(global) : global, parameters.global_factor));
  }
  let mixed = branches.length === 0 ? undefined : addAll(branches);
  if (mixed !== undefined && config.normalize === 'together') mixed = boundedLength(mixed);
  if (config.castling) mixed = castle(mixed, repeatValues(grouping, values));
  const taps = parameters['dwconv.weight'];
  if (config.convolution !== null && taps !== undefined) {
    const convolved = convolveGroups(grouping, values, taps, config.convolution.masked);
    mixed = mixed === undefined ? convolved : add(mixed, convolved);
  }
  // A global branch alone has nothing to say about the first group.
  return mixed ?? q.graph.constant(zeros('float32', repeatedShape(grouping, values)));
}

/** Σ max(q̂·k̂, 0)² v over the own group up to the position. [M,B·N,R·G,E] */
function localReluSquared(grouping: Grouping, unitQueries: Value, unitKeys: Value, values: Value): Value {
  const scores = matmul(unitQueries, unitKeys, { transposeB: true }); // [M,B*N,R*G,G]
  return matmul(maskedReluSquared(scores, causalMask(grouping, unitQueries, 1, 0)), values);
}

/** Softmax of q·k/√d over the own group up to the position, on raw queries and keys. [M,B·N,R·G,E] */
function localSoftmax(grouping: Grouping, queries: Value, keys: Value, values: Value): Value {
  const scores = matmul(mul(queries, 1 / Math.sqrt(Number(keys.shape[3]))), keys, { transposeB: true });
  return matmul(softmax(add(scores, causalMask(grouping, queries, 0, hiddenScore))), values);
}

/** q̂ · (sum of k̂ᵀv over all earlier groups): exclusive, as the local branch covers the own group. [M,B·N,R·G,E] */
function globalBranch(grouping: Grouping, unitQueries: Value, unitKeys: Value, values: Value): Value {
  const { batch: B, groups: N, keyValueHeads: M } = grouping;
  const D = unitKeys.shape[3];
  const E = values.shape[3];
  const products = matmul(unitKeys, values, { transposeA: true }); // [M,B*N,D,E]
  const earlier = cumulativeSum(reshape(products, [M, B, N, D, E]), 2, { exclusive: true });
  return matmul(unitQueries, reshape(earlier, [M, B * N, D, E]));
}

/** [R·G,G]: `visible` where key j ≤ query i inside the group, else `hidden`; repeated for the R heads that share keys. */
function causalMask(grouping: Grouping, like: Value, visible: number, hidden: number): Value {
  const { group: G, repeat: R } = grouping;
  return like.graph.sharedConstant(`causal mask G=${G} R=${R} ${visible} ${hidden}`, () => {
    const mask = new Float32Array(R * G * G);
    for (let row = 0; row < R * G; row++) {
      for (let column = 0; column < G; column++) mask[row * G + column] = column <= row % G ? visible : hidden;
    }
    return tensor('float32', [R * G, G], mask);
  });
}

function scaled(branch: Value, factor: Value | undefined): Value {
  return factor === undefined ? branch : mul(branch, factor);
}

/** x / (1e-5 + ‖x‖) per head vector. The tiny constant under the root keeps the gradient at zero vectors zero. */
export function boundedLength(x: Value): Value {
  const squared = sum(mul(x, x), [-1], true);
  return div(x, add(sqrt(add(squared, 1e-30)), normEpsilon));
}

/** Castling: x / ‖x‖ with x = ½v + mixed/π. */
export function castle(mixed: Value | undefined, values: Value): Value {
  const half = mul(values, 0.5);
  return unitLength(mixed === undefined ? half : add(half, mul(mixed, 1 / Math.PI)));
}

function repeatedShape(
  { group: G, groups: N, batch: B, keyValueHeads: M, repeat: R }: Grouping,
  values: Value,
): number[] {
  return [M, B * N, R * G, Number(values.shape[3])];
}

/** Values [M,B·N,G,E] as each query head sees them: [M,B·N,R·G,E]. */
function repeatValues(grouping: Grouping, values: Value): Value {
  const { batch: B, group: G, groups: N, keyValueHeads: M, repeat: R } = grouping;
  const E = values.shape[3];
  const spread = broadcastTo(reshape(values, [M, B * N, 1, G, E]), [M, B * N, R, G, E]);
  return reshape(spread, repeatedShape(grouping, values));
}
