/**
 * Linear attention through a feature map over whole sequences.
 *
 * Causal: chunk by chunk, a product of features under the causal mask inside each chunk, and an exclusive prefix sum of
 * φ(k)ᵀv over earlier chunks. Nothing is subtracted, so no digits are lost, and the cost per position does not depend on
 * the length. Bidirectional: φ(q) times one Σ φ(k)ᵀv over all tokens, without chunks.
 */
import type { Value } from '../../../graph/graph.ts';
import { collision, stopGradient, surrogateGradient } from '../../../graph/ops/surrogate-gradient.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, mul } from '../../../graph/ops/elementwise.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import { unitLength } from '../../../graph/ops/normalization.ts';
import { type AttentionMask, causalAttention, fullAttention } from '../../attention-mask.ts';
import { addGroupedConvolution } from '../../convolution.ts';
import { groupKeys, groupQueries, groupingOf, makeGrouping, ungroupQueries } from '../../grouping.ts';
import type { BidirectionalInput, CrossForm, FoldInput, RecurrentForm, SequenceInput } from '../../mixer.ts';
import { addStepConvolution, nodeBlocks, nodeRows, weightedValues } from '../../step-blocks.ts';
import { type FeaturesMixer, featuresOf, isLearnedMap } from './maps.ts';
import { keyFeatures, queryFeatures } from './map-graph.ts';
import { normalizedFeatures, summedValues, summedWidth } from './output.ts';
import { HeadLayout } from '../../head-layout.ts';
import { openBlock } from '../../masks.ts';
import { ringState } from '../../state.ts';
import { textSums } from '../../text-rows.ts';

/** The causal form: [B,n,H,E]. */
export function featuresParallel(config: FeaturesMixer, input: SequenceInput): Value {
  const grouping = groupingOf(input, config.group);
  const mask = causalAttention(grouping);
  const { queries, keys } = mappedPositions(config, mask, input);
  const summed = summedValues(config.output, input.v); // [B,n,M,E or E+1]
  const values = groupKeys(grouping, summed);
  const weights = mul(matmul(queries, keys, { transposeB: true }), mask.visible(queries));
  let sum = matmul(weights, values);
  const outside = mask.outside(queries, keys, values);
  if (outside !== undefined) sum = add(sum, outside);
  const { map } = config;
  if (map.name === 'hashes') {
    const whole = causalAttention(groupingOf(input, Number.POSITIVE_INFINITY));
    const expected = expectedSum(map.bits, whole, input, summed);
    sum = surrogateGradient(sum, groupQueries(grouping, ungroupQueries(whole.queries, expected)));
  }
  const mixed = normalizedFeatures(config, sum);
  const convolved = addGroupedConvolution(config.convolution, mixed, grouping, input.v, input.parameters);
  return ungroupQueries(grouping, convolved);
}

/** The bidirectional and cross-attention form, without the convolution: [B,m,H,E]. */
export function featuresOfWhole(config: FeaturesMixer, input: BidirectionalInput): Value {
  const { q, k, mask: tokens } = input;
  const [batch, queryLength, heads] = q.shape.map(Number);
  const [, length, keyValueHeads] = k.shape.map(Number);
  const wholeQueries = makeGrouping(batch, queryLength, queryLength, heads, keyValueHeads);
  const wholeKeys = makeGrouping(batch, length, length, heads, keyValueHeads);
  const mask = fullAttention(wholeQueries, wholeKeys, tokens, false);
  const { queries, keys } = mappedPositions(config, mask, input);
  // Masks the denominators' ones too.
  const summed = mul(summedValues(config.output, input.v), reshape(tokens, [batch, length, 1, 1]));
  const sums = matmul(keys, groupKeys(wholeKeys, summed), { transposeA: true }); // [M,B,m,E or E+1]
  let sum = matmul(queries, sums);
  const { map } = config;
  if (map.name === 'hashes') sum = surrogateGradient(sum, expectedSum(map.bits, mask, input, summed));
  return ungroupQueries(wholeQueries, normalizedFeatures(config, sum));
}

/** φ(q) [M,B·N,R·G,m] and φ(k) [M,B·N,G,m]. */
function mappedPositions(
  { map }: FeaturesMixer,
  mask: AttentionMask,
  input: SequenceInput,
): { queries: Value; keys: Value } {
  const headsFirst = nodeRows; // its own inverse
  const phiQ = queryFeatures(map, headsFirst(input.q), input); // [B,H,n,m]
  const phiK = keyFeatures(map, headsFirst(input.k), input); // [B,M,n,m]
  return {
    queries: groupQueries(mask.queries, headsFirst(phiQ)),
    keys: groupKeys(mask.keys, headsFirst(phiK)),
  };
}

/**
 * The hashed sum's expectation: collision probabilities as weights. Its gradient stands in for the hashes', which have
 * none; the values keep the estimate's gradient. It costs the length squared, in training only.
 *
 * @param whole the mask of a single group, the whole sequence
 * @param summed [B,n,M,E]
 * @returns [M,B,R·n,E]
 */
function expectedSum(bits: number, whole: AttentionMask, { q, k }: SequenceInput, summed: Value): Value {
  const queries = groupQueries(whole.queries, unitLength(q));
  const keys = groupKeys(whole.keys, unitLength(k));
  const weights = collision(matmul(queries, keys, { transposeB: true }), bits);
  return matmul(mul(weights, whole.visible(queries)), stopGradient(groupKeys(whole.keys, summed)));
}

// Linear attention through a feature map over token trees: unfolded rows, in the node's own chunk or an earlier one, are
// weighed one by one; S = Σ φ(k)ᵀv answers for the rest. Keys are kept raw and mapped when read, since a row of features
// may be many times longer.

export const featuresRecurrent: RecurrentForm<FeaturesMixer> = {
  /** S = Σ φ(k)ᵀv [M,m,E] over closed chunks; for a ratio also the denominators Σ φ(k), as one more column. */
  state({ group, map, output, convolution }, dims) {
    const { headWidth, valueWidth = headWidth } = dims;
    return ringState(dims, {
      group,
      convolution,
      folded: { kind: 'sums', rows: featuresOf(map, headWidth), columns: summedWidth(output, valueWidth) },
    });
  },
  step(config, input) {
    const { heads, sums, withinFolds } = input;
    const { keys, values, all: blocks } = nodeBlocks(input);
    const queries = mappedQueries(config, heads, input);
    const summed = blocks.map((block) => ({ ...block, values: summedValues(config.output, block.values) }));
    const weights = blocks.map(({ keys: rows, masks }) => {
      const features = keyFeatures(config.map, rows, input); // [B,M,rows,m]
      const seen = withinFolds ? masks.same : add(masks.same, masks.earlier);
      return mul(matmul(queries, features, { transposeB: true }), heads.tile(seen));
    });
    let sum = weightedValues(summed, weights);
    if (sums !== undefined) sum = add(sum, matmul(queries, sums));
    return { mixed: addStepConvolution(normalizedFeatures(config, sum), input, blocks), keys, values };
  },
  /** S ← S + Σ φ(k)ᵀv over rows of closed chunks. */
  fold: {
    shareAs: ({ map, output }) => (isLearnedMap(map) ? null : JSON.stringify([map, output])),
    fold(config, input) {
      const { keys, values, sums } = input;
      const [X, n, D] = keys.shape;
      // Sequences and heads, as feature maps want them.
      const outer = isLearnedMap(config.map) ? [1, X] : [X, 1];
      const features = keyFeatures(config.map, reshape(keys, [...outer, n, D]), input);
      const summed = summedValues(config.output, reshape(values, [...outer, n, values.shape[2]]));
      const products = matmul(features, summed, { transposeA: true });
      return add(sums, reshape(products, sums.shape));
    },
  },
  // The runtime's cosines depend on a number's place among four.
  sameBits: ({ map }) => (map.name === 'rfa' && map.features % 8 !== 0 ? undefined : 'open rows'),
  stepConfig: (config) => ({ ...config, group: openBlock }),
  scoreWidth: ({ map }, { headWidth }) => featuresOf(map, headWidth),
};

/** φ(q) in the layout of matrices [B,M,R·T,m]. */
function mappedQueries(
  { map }: FeaturesMixer,
  heads: HeadLayout,
  input: Pick<FoldInput, 'parameters' | 'scoring'>,
): Value {
  return heads.mapped((rows) => queryFeatures(map, rows, input), isLearnedMap(map));
}

/** A whole text's S; its size does not depend on the length. */
export const featuresCross: CrossForm<FeaturesMixer> = {
  whole: featuresOfWhole,
  tensors: ({ map, output }, { keyValueHeads, headWidth, valueWidth = headWidth }) => ({
    sums: [keyValueHeads, featuresOf(map, headWidth), summedWidth(output, valueWidth)],
  }),
  memory(config, { k, v, mask }, parameters, scoring) {
    const features = keyFeatures(config.map, nodeRows(k), { parameters, scoring });
    return { sums: textSums(features, summedValues(config.output, nodeRows(v)), mask) };
  },
  read(config, q, { sums }, parameters, scoring) {
    const heads = new HeadLayout(q, Number(sums.shape[1]));
    const queries = mappedQueries(config, heads, { parameters, scoring });
    return heads.split(normalizedFeatures(config, matmul(queries, sums)));
  },
};
