/**
 * Linear attention through a feature map over token trees: rows that are not folded yet are weighed one by one, be they
 * in the node's own chunk or an earlier one, and S = Σ φ(k)ᵀv answers for the rest. Keys are kept raw and their features
 * computed when read, since a row of features may be many times longer.
 */
import type { Value } from '../../graph/graph.ts';
import { add, mul } from '../../graph/ops/elementwise.ts';
import { matmul } from '../../graph/ops/matmul.ts';
import { reshape } from '../../graph/ops/layout.ts';
import { multiplyDims } from '../../graph/shape.ts';
import type { HeadLayout } from '../head-layout.ts';
import type { FeaturesMixer } from '../mixer.ts';
import type { MixerParameterValues } from '../mixer-values.ts';
import { type Block, convolutionWeights, type StepState, weightedValues } from '../step-blocks.ts';
import { mapFeatures } from './feature-graph.ts';
import { normalizedSum, summedValues } from './feature-output.ts';

/** [B,M,R·T,E] */
export function featuresStep(
  config: FeaturesMixer,
  blocks: readonly Block[],
  heads: HeadLayout,
  state: StepState,
  parameters: MixerParameterValues,
): Value {
  const keyMap = parameters['feature_map_k.weight'];
  const queries = queryFeatures(config, heads, parameters);
  const summed = blocks.map((block) => ({ ...block, values: summedValues(config, block.values) }));
  const weights = blocks.map(({ keys, masks }) => {
    const features = mapFeatures(config.map, keys, 'key', keyMap); // [B,M,rows,m]
    return mul(matmul(queries, features, { transposeB: true }), heads.tile(add(masks.same, masks.earlier)));
  });
  let sum = weightedValues(summed, weights);
  if (state.sums !== undefined) sum = add(sum, matmul(queries, state.sums));
  const mixed = normalizedSum(config, sum);
  const taps = parameters['dwconv.weight'];
  return taps === undefined ? mixed : add(mixed, weightedValues(blocks, convolutionWeights(blocks, taps, heads)));
}

/** φ(q) in the layout of matrices [B,M,R·T,m]. */
function queryFeatures({ map }: FeaturesMixer, heads: HeadLayout, parameters: MixerParameterValues): Value {
  const [B, M, R, T, D] = heads.queries.shape;
  const perHead = reshape(heads.queries, [B, multiplyDims(M, R), T, D]); // head h = m*R + r
  const features = mapFeatures(map, perHead, 'query', parameters['feature_map_q.weight']); // [B,H,T,m]
  return heads.join(reshape(features, [B, M, R, T, features.shape[3]]));
}

/**
 * S ← S + Σ φ(k)ᵀv over rows of chunks that have closed.
 *
 * @param keys [L,M,n,D] raw, of L layers
 * @param values [L,M,n,E]
 * @param sums [L,M,m,E] or [L,M,m,E+1]
 * @param keyMap [M,D,D] of the one layer, for a learned map
 */
export function foldFeatures(config: FeaturesMixer, keys: Value, values: Value, sums: Value, keyMap?: Value): Value {
  const features = mapFeatures(config.map, keys, 'key', keyMap);
  return add(sums, matmul(features, summedValues(config, values), { transposeA: true }));
}
