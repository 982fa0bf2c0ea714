/**
 * Linear attention through a feature map over whole sequences.
 *
 * Causal: chunk by chunk, a product of features under the causal mask inside each chunk, and an exclusive prefix sum of
 * φ(k)ᵀv over the chunks before it. Nothing is subtracted, so that no digits are lost, and the cost per position does not
 * depend on the length. Bidirectional: φ(q) times one Σ φ(k)ᵀv over all tokens, without chunks.
 */
import type { Value } from '../../graph/graph.ts';
import { collision } from '../../graph/ops/collision.ts';
import { add, mul } from '../../graph/ops/elementwise.ts';
import { reshape, transpose } from '../../graph/ops/layout.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { unitLength } from '../../graph/ops/normalization.ts';
import { stopGradient, surrogateGradient } from '../../graph/ops/surrogate-gradient.ts';
import { groupKeys, groupQueries, makeGrouping, ungroupQueries } from '../grouping.ts';
import type { FeaturesMixer } from '../mixer.ts';
import type { MixerParameterValues, ProjectedPositions } from '../mixer-values.ts';
import { causalSight, type Sight } from '../sight.ts';
import { mapFeatures } from './feature-graph.ts';
import { normalizedSum, summedValues } from './feature-output.ts';

/** The causal mixer without its convolution. [M,B·N,R·G,E] */
export function featuresParallel(
  config: FeaturesMixer,
  sight: Sight,
  positions: ProjectedPositions,
  parameters: MixerParameterValues,
): Value {
  const { queries, keys } = mappedPositions(config, sight, positions, parameters);
  const summed = summedValues(config, positions.v); // [B,n,M,E or E+1]
  const values = groupKeys(sight.keys, summed);
  const weights = mul(matmul(queries, keys, { transposeB: true }), sight.visible(queries));
  let sum = matmul(weights, values);
  const outside = sight.outside(queries, keys, values);
  if (outside !== undefined) sum = add(sum, outside);
  const { map } = config;
  if (map.name === 'hashes') {
    const { batch, length, keyValueHeads, repeat } = sight.queries;
    const whole = causalSight(makeGrouping(batch, length, length, keyValueHeads * repeat, keyValueHeads));
    const expected = expectedSum(map.bits, whole, positions, summed);
    sum = surrogateGradient(sum, groupQueries(sight.queries, ungroupQueries(whole.queries, expected)));
  }
  return normalizedSum(config, sum);
}

/**
 * The bidirectional mixer without its convolution. [M,B,R·n,E]
 *
 * @param sight of one group, the whole sequence
 * @param mask [B,n]: 1 for tokens, 0 for padding
 */
export function featuresOfWhole(
  config: FeaturesMixer,
  sight: Sight,
  positions: ProjectedPositions,
  mask: Value,
  parameters: MixerParameterValues,
): Value {
  const { queries, keys } = mappedPositions(config, sight, positions, parameters);
  const { batch, length } = sight.keys;
  // The ones of the denominators are masked too.
  const summed = mul(summedValues(config, positions.v), reshape(mask, [batch, length, 1, 1]));
  const sums = matmul(keys, groupKeys(sight.keys, summed), { transposeA: true }); // [M,B,m,E or E+1]
  let sum = matmul(queries, sums);
  const { map } = config;
  if (map.name === 'hashes') sum = surrogateGradient(sum, expectedSum(map.bits, sight, positions, summed));
  return normalizedSum(config, sum);
}

/** φ(q) [M,B·N,R·G,m] and φ(k) [M,B·N,G,m]. */
function mappedPositions(
  { map }: FeaturesMixer,
  sight: Sight,
  { q, k }: ProjectedPositions,
  parameters: MixerParameterValues,
): { queries: Value; keys: Value } {
  const headsFirst = [0, 2, 1, 3]; // its own inverse
  const phiQ = mapFeatures(map, transpose(q, headsFirst), 'query', parameters['feature_map_q.weight']); // [B,H,n,m]
  const phiK = mapFeatures(map, transpose(k, headsFirst), 'key', parameters['feature_map_k.weight']); // [B,M,n,m]
  return {
    queries: groupQueries(sight.queries, transpose(phiQ, headsFirst)),
    keys: groupKeys(sight.keys, transpose(phiK, headsFirst)),
  };
}

/**
 * What the hashed sum estimates: collision probabilities as weights. Its gradient stands for that of the hashes, which
 * have none; the gradient of the values is the estimate's own. It costs the square of the length, in training only.
 *
 * @param whole sight of one group, the whole sequence
 * @param summed [B,n,M,E]
 * @returns [M,B,R·n,E]
 */
function expectedSum(bits: number, whole: Sight, { q, k }: ProjectedPositions, summed: Value): Value {
  const queries = groupQueries(whole.queries, unitLength(q));
  const keys = groupKeys(whole.keys, unitLength(k));
  const weights = collision(matmul(queries, keys, { transposeB: true }), bits);
  return matmul(mul(weights, whole.visible(queries)), stopGradient(groupKeys(whole.keys, summed)));
}
