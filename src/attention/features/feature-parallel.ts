/**
 * Linear attention through a feature map over whole sequences, chunk by chunk: a product of features under the causal
 * mask inside each chunk, and an exclusive prefix sum of φ(k)ᵀv over the chunks before it. Nothing is subtracted, so
 * that no digits are lost, and the cost per position does not depend on the length.
 */
import type { Value } from '../../graph/graph.ts';
import { collision } from '../../graph/ops/collision.ts';
import { add, mul } from '../../graph/ops/elementwise.ts';
import { transpose } from '../../graph/ops/layout.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { unitLength } from '../../graph/ops/normalization.ts';
import { stopGradient, surrogateGradient } from '../../graph/ops/surrogate-gradient.ts';
import {
  causalMask,
  earlierSums,
  groupKeys,
  type Grouping,
  groupQueries,
  makeGrouping,
  ungroupQueries,
} from '../grouping.ts';
import type { FeaturesMixer } from '../mixer.ts';
import type { MixerParameterValues, ProjectedPositions } from '../mixer-values.ts';
import { mapFeatures } from './feature-graph.ts';
import { normalizedSum, summedValues } from './feature-output.ts';

/** The mixer without its convolution. [M,B·N,R·G,E] */
export function featuresParallel(
  config: FeaturesMixer,
  grouping: Grouping,
  { q, k, v }: ProjectedPositions,
  parameters: MixerParameterValues,
): Value {
  const { map } = config;
  const headsFirst = [0, 2, 1, 3]; // its own inverse
  const phiQ = mapFeatures(map, transpose(q, headsFirst), 'query', parameters['feature_map_q.weight']); // [B,H,n,m]
  const phiK = mapFeatures(map, transpose(k, headsFirst), 'key', parameters['feature_map_k.weight']); // [B,M,n,m]
  const queries = groupQueries(grouping, transpose(phiQ, headsFirst)); // [M,B*N,R*G,m]
  const keys = groupKeys(grouping, transpose(phiK, headsFirst)); // [M,B*N,G,m]
  const values = groupKeys(grouping, summedValues(config, v));

  const weights = mul(matmul(queries, keys, { transposeB: true }), causalMask(grouping, queries, 1, 0));
  let sum = matmul(weights, values);
  if (grouping.groups > 1) sum = add(sum, matmul(queries, earlierSums(grouping, keys, values)));
  if (map.name === 'hashes') sum = surrogateGradient(sum, expectedSum(config, map.bits, grouping, { q, k, v }));
  return normalizedSum(config, sum);
}

/**
 * What the hashed sum estimates: collision probabilities as weights. Its gradient stands for that of the hashes, which
 * have none; the gradient of the values is the estimate's own. It costs the square of the length, in training only.
 */
function expectedSum(config: FeaturesMixer, bits: number, grouping: Grouping, { q, k, v }: ProjectedPositions): Value {
  const { batch, length, keyValueHeads, repeat } = grouping;
  const whole = makeGrouping(batch, length, length, keyValueHeads * repeat, keyValueHeads);
  const queries = groupQueries(whole, unitLength(q));
  const keys = groupKeys(whole, unitLength(k));
  const values = stopGradient(groupKeys(whole, summedValues(config, v)));
  const weights = collision(matmul(queries, keys, { transposeB: true }), bits);
  const sum = matmul(mul(weights, causalMask(whole, queries, 1, 0)), values);
  return groupQueries(grouping, ungroupQueries(whole, sum));
}
