/**
 * Linear attention through a feature map over token trees: rows that are not folded yet are weighed one by one, be they
 * in the node's own chunk or an earlier one, and S = Σ φ(k)ᵀv answers for the rest. Keys are kept raw and their features
 * computed when read, since a row of features may be many times longer.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, mul } from '../../../graph/ops/elementwise.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import { HeadLayout } from '../../head-layout.ts';
import type {
  AttentionDims,
  CrossForm,
  Fold,
  FoldInput,
  MixerParameterValues,
  StateShape,
  StepInput,
  MixerStepOutput,
} from '../../mixer.ts';
import type { Scoring } from '../../scoring.ts';
import { ringState } from '../../state.ts';
import { addStepConvolution, blocksOf, nodeRows, weightedValues } from '../../step-blocks.ts';
import { type FeaturesMixer, featuresOf, isLearnedMap, keyMapName, queryMapName } from './maps.ts';
import { mapFeatures } from './map-graph.ts';
import { normalizedFeatures, summedValues, summedWidth } from './output.ts';

/** S = Σ φ(k)ᵀv [M,m,E] over closed chunks; with the ratio's denominators, Σ φ(k), as one more column. */
export function featuresState({ group, map, output, convolution }: FeaturesMixer, dims: AttentionDims): StateShape {
  const { headWidth, valueWidth = headWidth } = dims;
  return ringState(dims, {
    group,
    convolution,
    folded: { kind: 'sums', rows: featuresOf(map, headWidth), columns: summedWidth(output, valueWidth) },
  });
}

export function featuresStep(config: FeaturesMixer, input: StepInput): MixerStepOutput {
  const { heads, sums, parameters, scoring } = input;
  const [keys, values] = [nodeRows(input.k), nodeRows(input.v)];
  const { all: blocks } = blocksOf(input, keys, values);
  const queries = queryFeatures(config, heads, parameters, scoring);
  const summed = blocks.map((block) => ({ ...block, values: summedValues(config.output, block.values) }));
  const weights = blocks.map(({ keys: rows, masks }) => {
    const features = keyFeatures(config, rows, parameters, scoring); // [B,M,rows,m]
    return mul(matmul(queries, features, { transposeB: true }), heads.tile(add(masks.same, masks.earlier)));
  });
  let sum = weightedValues(summed, weights);
  if (sums !== undefined) sum = add(sum, matmul(queries, sums));
  return { mixed: addStepConvolution(normalizedFeatures(config, sum), input, blocks), keys, values };
}

/** φ(q) in the layout of matrices [B,M,R·T,m]. */
function queryFeatures(
  { map }: FeaturesMixer,
  heads: HeadLayout,
  parameters: MixerParameterValues,
  { scale }: Scoring,
): Value {
  const context = { side: 'query', scale, weight: parameters[queryMapName] } as const;
  const features = (rows: Value): Value => mapFeatures(map, rows, context);
  return isLearnedMap(map) ? heads.mappedOneByOne(features) : heads.mapped(features);
}

/** φ(k) of rows [B,M,rows,D]. */
function keyFeatures(
  { map }: FeaturesMixer,
  keys: Value,
  parameters: MixerParameterValues,
  { scale }: Pick<Scoring, 'scale'>,
): Value {
  return mapFeatures(map, keys, { side: 'key', scale, weight: parameters[keyMapName] });
}

/** S ← S + Σ φ(k)ᵀv over rows of chunks that have closed. */
export const featuresFold: Fold<FeaturesMixer> = {
  shareAs: ({ map, output }) => (isLearnedMap(map) ? null : JSON.stringify([map, output])),
  fold(config, { keys, values, sums, parameters, scoring }: FoldInput) {
    const [X, n, D] = keys.shape;
    // Sequences and heads, as feature maps want them.
    const outer = isLearnedMap(config.map) ? [1, X] : [X, 1];
    const features = keyFeatures(config, reshape(keys, [...outer, n, D]), parameters, scoring);
    const summed = summedValues(config.output, reshape(values, [...outer, n, values.shape[2]]));
    const products = matmul(features, summed, { transposeA: true });
    return add(sums, reshape(products, sums.shape));
  },
};

/** S of a whole text: of a size that does not depend on its length. */
export const featuresCross: CrossForm<FeaturesMixer> = {
  tensors(config, dims) {
    const { folded } = featuresState(config, dims);
    return { sums: folded?.kind === 'sums' ? [dims.keyValueHeads, folded.rows, folded.columns] : [] };
  },
  memory(config, { k, v, mask }, parameters, scoring) {
    const [B, m] = mask.shape;
    const features = mul(keyFeatures(config, nodeRows(k), parameters, scoring), reshape(mask, [B, 1, m, 1]));
    return { sums: matmul(features, summedValues(config.output, nodeRows(v)), { transposeA: true }) };
  },
  read(config, q, { sums }, parameters, scoring) {
    const heads = new HeadLayout(q, Number(sums.shape[1]));
    return heads.split(normalizedFeatures(config, matmul(queryFeatures(config, heads, parameters, scoring), sums)));
  },
};
