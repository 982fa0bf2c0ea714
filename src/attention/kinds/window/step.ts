/**
 * Window attention over token trees. Rows of the window and the sinks, in the ring and the tree, are scored one by one; what
 * is older is in S, or, where the tree has moved the window past rows that are not folded yet, weighed row by row as the
 * memory would. A group is folded into S when it has left the window of all that may still be read.
 */
import { internalError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { add, mul } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, slice } from '../../../graph/ops/layout.ts';
import { matmul } from '../../../graph/ops/matmul.ts';
import { softmax } from '../../../graph/ops/softmax.ts';
import { exp } from '../../../graph/ops/unary.ts';
import { multiplyDims } from '../../../graph/shape.ts';
import { HeadLayout } from '../../head-layout.ts';
import type { AttentionDims, Fold, FoldInput, StateShape, StepBlock, StepInput, StepOutput } from '../../mixer.ts';
import { biasOfRows } from '../../scoring.ts';
import { ringState } from '../../state.ts';
import { addStepConvolution, blocksOf, joinBlocks, maskScores, nodeRows, softmaxOfBlocks } from '../../step-blocks.ts';
import { featuresOf, isLearnedMap } from '../features/maps.ts';
import type { WindowMemory, WindowMixer } from './config.ts';
import { countedValues, keyFeatures, logDecay, queryFeatures, rowOfSums } from './memory.ts';

/** The ring of the window, the sinks, and S = Σ φ(k)ᵀ[v,1] of what is older: [M,F,E+1]. */
export function windowState({ memory, ...config }: WindowMixer, dims: AttentionDims): StateShape {
  const { headWidth, valueWidth = headWidth } = dims;
  if (memory === null) return ringState(dims, config);
  const rows = featuresOf(memory.map, headWidth);
  return ringState(dims, { ...config, folded: { kind: 'sums', rows, columns: valueWidth + 1 } });
}

export function windowStep(config: WindowMixer, input: StepInput): StepOutput {
  const { heads, scoring, horizon } = input;
  const [keys, values] = [nodeRows(input.k), nodeRows(input.v)]; // [B,M,T,D], [B,M,T,E]
  const blocks = blocksOf(input, keys, values);
  const joined = joinBlocks(blocks);
  const products = rowProducts(config, input, joined.keys, keys);
  const { bias } = scoring;
  const biased =
    bias === undefined ? products : add(products, biasOfRows(bias, joined.masks.offsets, horizon.reach, heads));
  const scores = maskScores(biased, joined.masks, heads); // [B,M,R*T,rows]
  const { memory } = config;
  if (memory === null) {
    return { mixed: addStepConvolution(matmul(softmax(scores), joined.values), input, blocks), keys, values };
  }
  const remembered = rowOfSums(olderSums(memory, input, joined));
  const [near, weight] = softmaxOfBlocks([scores, remembered.score]);
  const mixed = add(matmul(near, joined.values), mul(weight, remembered.value));
  return { mixed: addStepConvolution(mixed, input, blocks), keys, values };
}

/** Products of queries with the rows of ring and tree, those of the sinks with queries of their own: [B,M,R·T,rows]. */
function rowProducts({ sinks }: WindowMixer, { heads, far, ring, scoring }: StepInput, all: Value, own: Value): Value {
  const product = (layout: HeadLayout, rows: Value): Value =>
    matmul(layout.join(mul(layout.queries, scoring.scale)), rows, { transposeB: true });
  if (far === undefined || sinks === 0) return product(heads, all);
  const slots = Number(ring.keys.shape[2]);
  const others = concat([slice(ring.keys, 2, sinks, slots), own], 2);
  const ofSinks = product(new HeadLayout(far, Number(heads.queries.shape[1])), slice(ring.keys, 2, 0, sinks));
  return concat([ofSinks, product(heads, others)], 3);
}

/** Σ w_j [v_j, 1] over what is older than the window of each node: [B,M,R·T,E+1]. */
function olderSums(memory: WindowMemory, input: StepInput, { keys, values, masks }: StepBlock): Value {
  const { heads, sums, parameters, inputs, scoring } = input;
  if (sums === undefined) throw internalError('a state without the sums of the memory');
  const [B, M, R, T, D] = heads.queries.shape;
  const perHead = reshape(heads.queries, [B, multiplyDims(M, R), T, D]); // head h = m*R + r
  const phiQ = queryFeatures(memory, perHead, scoring.scale, parameters); // [B,H,T,F]
  const queries = heads.join(reshape(phiQ, [B, M, R, T, phiQ.shape[3]]));
  const features = keyFeatures(memory, keys, scoring.scale, parameters); // [B,M,rows,F]
  const products = matmul(queries, features, { transposeB: true });
  const unfolded = mul(products, heads.tile(masks.earlier));
  const read = matmul(queries, sums); // [B,M,R*T,E+1]
  const decay = logDecay(memory, keys, Number(M), parameters);
  if (decay === undefined) return add(matmul(unfolded, countedValues(values)), read);
  const factor = (age: Value): Value => exp(mul(reshape(decay, [M, 1, 1]), heads.tile(age))); // [B,M,R*T,rows]
  const rows = factor(concat([inputs['age.ring'], inputs['age.tree']], 3));
  return add(matmul(mul(unfolded, rows), countedValues(values)), mul(read, factor(inputs['age.sums'])));
}

/** S ← γ^groups S + Σ γ^age φ(k)ᵀ[v,1] over the rows of groups that leave the window. */
export const windowFold: Fold<WindowMixer> = {
  shareAs: ({ memory }) =>
    memory === null || isLearnedMap(memory.map) || memory.decay !== 'none' ? null : memory.map.name,
  readsAges: ({ memory }) => memory !== null && memory.decay !== 'none',
  fold({ memory }, { keys, values, sums, parameters, scoring, ages }: FoldInput) {
    if (sums === undefined || memory === null) throw internalError('a fold without sums');
    const [X, n, D] = keys.shape;
    const outer = isLearnedMap(memory.map) ? [1, X] : [X, 1]; // sequences and heads, as feature maps want them
    const features = keyFeatures(memory, reshape(keys, [...outer, n, D]), scoring.scale, parameters);
    const rows = reshape(features, [X, n, features.shape[3]]);
    const decay = logDecay(memory, keys, Number(X), parameters);
    if (decay === undefined || ages === undefined) {
      return add(sums, matmul(rows, countedValues(values), { transposeA: true }));
    }
    const factor = (age: Value): Value => exp(mul(reshape(decay, [X, 1, 1]), age));
    const aged = mul(rows, factor(reshape(ages.rows, [n, 1])));
    return add(mul(sums, factor(ages.groups)), matmul(aged, countedValues(values), { transposeA: true }));
  },
};
