/**
 * The parallel form of a causal mixer: a whole sequence at once, for training, prefill measurements and perplexity.
 *
 * The same formula as naive.ts (paper, section 4), computed group by group: the local branch is a [G,G] product inside
 * each group, the global branch multiplies by an exclusive prefix sum over the groups' k̂ᵀv, the convolution is a banded
 * product. Cost per position is constant in n. Encoders have `bidirectional.ts`.
 */
import type { Value } from '../graph/graph.ts';
import { add } from '../graph/ops/elementwise.ts';
import { zeros } from '../graph/tensor.ts';
import { attendGroups, localSoftmax, repeatedShape } from './branches.ts';
import { convolveGroups, convolvePositions } from './convolution.ts';
import { featuresParallel } from './features/feature-parallel.ts';
import { groupKeys, type Grouping, groupQueries, makeGrouping, ungroupQueries } from './grouping.ts';
import { causalView, convolutionRides, gauParallel, type UnitView } from './gau/gau-parallel.ts';
import { blockLinformerParallel } from './linformer/block-linformer.ts';
import { linformerParallel } from './linformer/whole-linformer.ts';
import { type GauMixer, groupOf, type LinearMixer, linearForm, type MixerConfig } from './mixer.ts';
import { type MixerParameterValues, type ProjectedPositions, requireMixerParameters } from './mixer-values.ts';
import { causalSight } from './sight.ts';

export { castle } from './branches.ts';
export type { MixerParameterValues, ProjectedPositions } from './mixer-values.ts';
export { hiddenScore } from './sight.ts';

/**
 * Mixes the positions of whole sequences, each position reading itself and its past.
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
  const { q, k, v } = positions;
  const [batch, length, heads] = q.shape.map(Number);
  const grouping = makeGrouping(batch, length, groupOf(config), heads, Number(k.shape[2]));
  const sight = causalSight(grouping);
  if (config.kind === 'softmax') {
    const mixed = localSoftmax(sight, groupQueries(grouping, q), groupKeys(grouping, k), groupKeys(grouping, v));
    return ungroupQueries(grouping, mixed);
  }
  if (config.kind === 'yoso') {
    // The banded matrix of a convolution has the square of a group, and this group is the whole sequence.
    const mixed = mixGroups(linearForm({ ...config, convolution: null }), grouping, positions, parameters);
    return addConvolution(config, ungroupQueries(grouping, mixed), grouping, v, parameters);
  }
  if (config.kind === 'linformer') {
    return addConvolution(config, linformerParallel(config, positions, parameters), grouping, v, parameters);
  }
  if (config.kind === 'block-linformer') {
    const mixed = blockLinformerParallel(config, grouping, positions, parameters);
    return ungroupQueries(grouping, convolved(config, grouping, mixed, v, parameters));
  }
  if (config.kind === 'features') {
    const mixed = featuresParallel(config, sight, positions, parameters);
    return ungroupQueries(grouping, convolved(config, grouping, mixed, v, parameters));
  }
  if (config.kind === 'gau') return mixUnit(config, positions, parameters);
  return ungroupQueries(grouping, mixGroups(config, grouping, positions, parameters));
}

/**
 * The `gau` mixer over whole sequences.
 *
 * @param view which positions see which; default as in a causal model
 * @returns [B,n,H,E]
 */
export function mixUnit(
  config: GauMixer,
  positions: ProjectedPositions,
  parameters: MixerParameterValues,
  view: UnitView = causalView,
): Value {
  const { q, k, v } = positions;
  const [batch, length, heads] = q.shape.map(Number);
  const grouping = makeGrouping(batch, length, groupOf(config), heads, Number(k.shape[2]));
  const grouped = gauParallel(config, grouping, positions, parameters, view);
  const mixed =
    grouped === undefined
      ? q.graph.constant(zeros('float32', [batch, length, heads, Number(v.shape[3])]))
      : ungroupQueries(grouping, grouped);
  return convolutionRides(config, grouping, view) ? mixed : addConvolution(config, mixed, grouping, v, parameters);
}

/** [M,B·N,R·G,E] */
function mixGroups(
  config: LinearMixer,
  grouping: Grouping,
  positions: ProjectedPositions,
  parameters: MixerParameterValues,
): Value {
  const attention = attendGroups(config, causalSight(grouping), positions, parameters);
  const mixed = convolved(config, grouping, attention, positions.v, parameters);
  if (mixed !== undefined) return mixed;
  const nothing = zeros('float32', repeatedShape(grouping, Number(positions.v.shape[3])));
  return positions.q.graph.constant(nothing);
}

type Convolved = Pick<LinearMixer, 'convolution'>;

/** `mixed` [B,n,H,E] plus the convolution of v [B,n,M,E], where the mixer has one. */
function addConvolution(
  { convolution }: Convolved,
  mixed: Value,
  grouping: Grouping,
  v: Value,
  parameters: MixerParameterValues,
): Value {
  const taps = parameters['dwconv.weight'];
  if (convolution === null || taps === undefined) return mixed;
  return add(mixed, convolvePositions(grouping, v, taps, convolution.masked));
}

/** `mixed` [M,B·N,R·G,E] plus the convolution of v [B,n,M,E], where the mixer has one. */
function convolved<Mixed extends Value | undefined>(
  { convolution }: Convolved,
  grouping: Grouping,
  mixed: Mixed,
  v: Value,
  parameters: MixerParameterValues,
): Mixed | Value {
  const taps = parameters['dwconv.weight'];
  if (convolution === null || taps === undefined) return mixed;
  const filtered = convolveGroups(grouping, groupKeys(grouping, v), taps, convolution.masked);
  return mixed === undefined ? filtered : add(mixed, filtered);
}
