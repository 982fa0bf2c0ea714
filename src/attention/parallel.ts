/**
 * The parallel form of a mixer: a whole sequence at once, for training, prefill measurements and perplexity.
 *
 * The same formula as naive.ts (paper, section 4), computed group by group: the local branch is a [G,G] product inside
 * each group, the global branch multiplies by an exclusive prefix sum over the groups' k̂ᵀv, the convolution is a banded
 * product. Cost per position is constant in n.
 */
import type { Value } from '../graph/graph.ts';
import { collision } from '../graph/ops/collision.ts';
import { add, addAll, mul } from '../graph/ops/elementwise.ts';
import { reshape } from '../graph/ops/layout.ts';
import { matmul } from '../graph/ops/matmul.ts';
import { unitLength } from '../graph/ops/normalization.ts';
import { broadcastTo } from '../graph/ops/reduce.ts';
import { maskedReluSquared } from '../graph/ops/relu-squared.ts';
import { softmax } from '../graph/ops/softmax.ts';
import { zeros } from '../graph/tensor.ts';
import { boundedLength } from './bounded-length.ts';
import { convolveGroups } from './convolution.ts';
import { featuresParallel } from './features/feature-parallel.ts';
import {
  causalMask,
  earlierSums,
  groupKeys,
  type Grouping,
  groupQueries,
  makeGrouping,
  ungroupQueries,
} from './grouping.ts';
import { linformerParallel } from './linformer.ts';
import {
  collisionBits,
  groupOf,
  type LinearMixer,
  linearForm,
  type LinformerMixer,
  type LocalKernel,
  type MixerConfig,
  type SoftmaxMixer,
  type YosoMixer,
} from './mixer.ts';
import { type MixerParameterValues, type ProjectedPositions, requireMixerParameters } from './mixer-values.ts';

export type { MixerParameterValues, ProjectedPositions } from './mixer-values.ts';

/** A large negative number for hidden scores: its exponential is 0 in float32. */
export const hiddenScore = -1e9;

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
  requireMixerParameters(config, positions, parameters);
  const { q, k } = positions;
  const [batch, length, heads] = q.shape.map(Number);
  const grouping = makeGrouping(batch, length, groupOf(config), heads, Number(k.shape[2]));
  if (config.kind === 'softmax') {
    const mixed = localSoftmax(
      grouping,
      groupQueries(grouping, q),
      groupKeys(grouping, k),
      groupKeys(grouping, positions.v),
    );
    return ungroupQueries(grouping, mixed);
  }
  if (config.kind === 'yoso') {
    const attention = linearForm({ ...config, convolution: null });
    const mixed = ungroupQueries(grouping, mixGroups(attention, grouping, positions, parameters));
    return convolvedInSmallGroups(config, grouping, mixed, positions, parameters);
  }
  if (config.kind === 'linformer') {
    const mixed = linformerParallel(config, positions, parameters);
    return convolvedInSmallGroups(config, grouping, mixed, positions, parameters);
  }
  if (config.kind === 'features') {
    const mixed = featuresParallel(config, grouping, positions, parameters);
    return ungroupQueries(grouping, convolved(config, grouping, mixed, groupKeys(grouping, positions.v), parameters));
  }
  return ungroupQueries(grouping, mixGroups(config, grouping, positions, parameters));
}

/** Positions per group of the convolution where the mixer itself has one group of any length. */
const convolutionGroup = 64;

/**
 * `mixed` [B,n,H,E] plus the convolution, for a mixer with one group of any length: the banded matrix of the convolution
 * has the square of a group.
 */
function convolvedInSmallGroups(
  config: YosoMixer | LinformerMixer,
  { batch, length, keyValueHeads, repeat }: Grouping,
  mixed: Value,
  positions: ProjectedPositions,
  parameters: MixerParameterValues,
): Value {
  const small = makeGrouping(batch, length, convolutionGroup, keyValueHeads * repeat, keyValueHeads);
  const filtered = convolved(config, small, undefined, groupKeys(small, positions.v), parameters);
  return filtered === undefined ? mixed : add(mixed, ungroupQueries(small, filtered));
}

/** `mixed` plus the convolution, where the mixer has one. [M,B·N,R·G,E] */
function convolved<Mixed extends Value | undefined>(
  { convolution }: Exclude<MixerConfig, SoftmaxMixer>,
  grouping: Grouping,
  mixed: Mixed,
  values: Value,
  parameters: MixerParameterValues,
): Mixed | Value {
  const taps = parameters['dwconv.weight'];
  if (convolution === null || taps === undefined) return mixed;
  const filtered = convolveGroups(grouping, values, taps, convolution.masked);
  return mixed === undefined ? filtered : add(mixed, filtered);
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
    const branch = config.local;
    const kernels: Readonly<Record<LocalKernel, () => Value>> = {
      relu2: () => localReluSquared(grouping, unitQueries, unitKeys, values),
      softmax: () => localSoftmax(grouping, groupQueries(grouping, q), groupKeys(grouping, k), values),
      yoso: () => localCollision(grouping, unitQueries, unitKeys, values, collisionBits(branch)),
    };
    branches.push(scaled(kernels[branch.kernel](), parameters.local_factor));
  }
  if (config.global !== null && grouping.groups > 1) {
    const global = globalBranch(grouping, unitQueries, unitKeys, values);
    branches.push(scaled(config.normalize === 'global' ? boundedLength(global) : global, parameters.global_factor));
  }
  let mixed = branches.length === 0 ? undefined : addAll(branches);
  if (mixed !== undefined && config.normalize === 'together') mixed = boundedLength(mixed);
  if (config.castling) mixed = castle(mixed, repeatValues(grouping, values));
  mixed = convolved(config, grouping, mixed, values, parameters);
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

/** Σ (1 − arccos(q̂·k̂)/π)^bits v over the own group up to the position. [M,B·N,R·G,E] */
function localCollision(grouping: Grouping, unitQueries: Value, unitKeys: Value, values: Value, bits: number): Value {
  const weights = collision(matmul(unitQueries, unitKeys, { transposeB: true }), bits); // [M,B*N,R*G,G]
  return matmul(mul(weights, causalMask(grouping, unitQueries, 1, 0)), values);
}

/** q̂ · (sum of k̂ᵀv over all earlier groups): exclusive, as the local branch covers the own group. [M,B·N,R·G,E] */
function globalBranch(grouping: Grouping, unitQueries: Value, unitKeys: Value, values: Value): Value {
  return matmul(unitQueries, earlierSums(grouping, unitKeys, values));
}

function scaled(branch: Value, factor: Value | undefined): Value {
  return factor === undefined ? branch : mul(branch, factor);
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
