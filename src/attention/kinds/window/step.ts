/**
 * Window attention over token trees. Rows of the window and the sinks, in the ring and the tree, are scored one by one; older
 * rows are in S, or, where the tree has moved the window past rows that are not folded yet, weighed row by row as the
 * memory would. A group is folded into S when it has left the window of all positions that may still be read.
 *
 * One softmax is over the columns [ring | memory | tree], without the memory [ring | tree]. Rows of the ring are read where
 * they are: a copy of them next to the tree's costs more than a second product.
 */
import { internalError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, addAll, div, exp, log, maximum, mul } from '../../../graph/ops/elementwise.ts';
import { gather } from '../../../graph/ops/indexing.ts';
import { concat, reshape, slice, split } from '../../../graph/ops/layout.ts';
import { tensor } from '../../../graph/tensor.ts';
import { maskedScore, scoreBias } from '../../attention-mask.ts';
import type { HeadLayout } from '../../head-layout.ts';
import { ageNames, groupAges, declareGroupAges } from '../../group-ages.ts';
import { type SequenceStep, windowStart } from '../../masks.ts';
import type {
  AttentionDims,
  Fold,
  FoldInput,
  LayoutInputs,
  MixerStepOutput,
  StateShape,
  StepBlock,
  StepInput,
} from '../../mixer.ts';
import { biasOfRows } from '../../scoring.ts';
import { sinkOfNodes, softmaxWithSink } from '../../sink-logits.ts';
import { ringState } from '../../state.ts';
import {
  blocksOf,
  convolutionWeights,
  nodeRows,
  softmaxOverRows,
  type StepBlocks,
  weightedValues,
} from '../../step-blocks.ts';
import { featuresOf, isLearnedMap } from '../features/maps.ts';
import type { WindowMemory, WindowMixer } from './config.ts';
import { countedValues, keyFeatures, leastWeight, logDecay, queryFeatures } from './memory.ts';

/** The name of the input with the slots of older rows. */
const olderName = 'older';

function decays({ memory }: WindowMixer): boolean {
  return memory !== null && memory.decay !== 'none';
}

export const windowInputs: LayoutInputs<WindowMixer> = {
  tag: (config) => (config.memory === null ? '' : decays(config) ? 'md' : 'm'),
  declare(config, { slots, treeRows }, named) {
    if (config.memory === null) return {};
    const older = { [olderName]: { dtype: 'int32' as const, shape: [named('U')] } };
    return decays(config) ? { ...older, ...declareGroupAges(slots, treeRows) } : older;
  },
  feeds(config, steps, nodes, slots) {
    const rows = olderSlots(config, steps);
    const older = { [olderName]: tensor('int32', [rows.length], rows) };
    return decays(config) ? { ...older, ...groupAges(config, steps, nodes, slots) } : older;
  },
};

/**
 * Slots with rows that are not folded, and that some node's window has moved past, of all sequences; at least one, so that no
 * tensor is empty. Masks say who reads which.
 */
function olderSlots(config: WindowMixer, steps: readonly SequenceStep[]): Int32Array {
  const found = new Set<number>();
  for (const { slotPositions, tree, committed } of steps) {
    const folded = Math.max(windowStart(committed, config), config.sinks);
    const end = windowStart(committed + tree.depths.reduce((most, depth) => Math.max(most, depth), 0), config);
    if (end <= folded) continue;
    slotPositions.forEach((position, slot) => {
      if (position >= folded && position < end) found.add(slot);
    });
  }
  return Int32Array.from(found.size === 0 ? [0] : [...found].sort((a, b) => a - b));
}

/** The ring of the window, the sinks, and S = Σ φ(k)ᵀ[v,1] of older positions: [M,F,E+1]. */
export function windowState({ memory, ...config }: WindowMixer, dims: AttentionDims): StateShape {
  const { headWidth, valueWidth = headWidth } = dims;
  if (memory === null) return ringState(dims, config);
  const rows = featuresOf(memory.map, headWidth);
  return ringState(dims, { ...config, folded: { kind: 'sums', rows, columns: valueWidth + 1 } });
}

export function windowStep(config: WindowMixer, input: StepInput): MixerStepOutput {
  const [keys, values] = [nodeRows(input.k), nodeRows(input.v)]; // [B,M,T,D], [B,M,T,E]
  const blocks = blocksOf(input, keys, values);
  const mix = input.open === undefined ? mixedColumns : mixedBlocks;
  return { mixed: mix(config, input, blocks), keys, values };
}

/** One softmax over the columns [ring | memory | tree], in one op. */
function mixedColumns(
  { memory, sinks }: WindowMixer,
  input: StepInput,
  { ring, tree, all: blocks }: StepBlocks,
): Value {
  if (ring === undefined) throw internalError('open rows are mixed apart');
  const { heads } = input;
  const biases = blocks.map((block) => biasOf(block, input)); // [B,1 or M,R*T,rows]
  const C = Number(ring.keys.shape[2]);
  const mixed: Value[] = [];
  const sink = sinkOfNodes(heads, input.parameters);
  const scores = [scoresOfRing(sinks, input), scoresOfTree(input, tree)];
  let weights: readonly Value[];
  if (memory === null) {
    const all = softmaxWithSink(add(concat(scores, 3), concat(biases, 3)), sink);
    weights = [slice(all, 3, 0, C), slice(all, 3, C)];
  } else {
    const older = rememberedRow(memory, input, ring, tree);
    const unbiased = mul(slice(biases[0], 3, 0, 1), 0);
    const all = softmaxWithSink(
      add(concat([scores[0], older.score, scores[1]], 3), concat([biases[0], unbiased, biases[1]], 3)),
      sink,
    );
    weights = [slice(all, 3, 0, C), slice(all, 3, C + 1)];
    mixed.push(mul(older.value, slice(all, 3, C, C + 1)));
  }
  return addAll([...mixed, ofRows(input, blocks, weights)]);
}

/** The same with the sums of each block apart, in the order of its rows. */
function mixedBlocks({ memory, sinks }: WindowMixer, input: StepInput, { ring, tree, all: blocks }: StepBlocks): Value {
  const scores = [...(ring === undefined ? [] : [scoresOfRing(sinks, input)]), scoresOfTree(input, tree)];
  const masked = scores.map((score, i) => add(score, biasOf(blocks[i], input)));
  const older = memory === null ? undefined : rememberedRow(memory, input, ring, tree);
  const sink = sinkOfNodes(input.heads, input.parameters);
  const others = [older?.score, sink].filter((score) => score !== undefined);
  const weights = softmaxOverRows(input, blocks, [...masked, ...others]);
  const rows = ofRows(input, blocks, weights.slice(0, blocks.length));
  return older === undefined ? rows : add(mul(older.value, weights[blocks.length]), rows);
}

function ofRows(input: StepInput, blocks: readonly StepBlock[], weights: readonly Value[]): Value {
  const convolved = convolutionWeights(input, blocks);
  return weightedValues(
    blocks,
    weights.map((weight, i) => (convolved === undefined ? weight : add(weight, convolved[i]))),
  );
}

function scoresOfTree({ heads, scoring }: StepInput, { keys }: StepBlock): Value {
  return mul(matmul(heads.join(heads.queries), keys, { transposeB: true }), scoring.scale);
}

/** Score [B,M,R·T,1] and value [B,M,R·T,E] of everything older than the window. */
function rememberedRow(
  memory: WindowMemory,
  input: StepInput,
  ring: StepBlock | undefined,
  tree: StepBlock,
): { readonly score: Value; readonly value: Value } {
  const E = Number(tree.values.shape[3]);
  const [weighted, total] = split(olderSums(memory, input, ring, tree), -1, [E, 1]);
  // Where nothing is older, the logarithm of 0 becomes the score of a masked row.
  return { score: maximum(log(total), maskedScore), value: div(weighted, maximum(total, leastWeight)) };
}

/** Scores of the ring's rows; the sinks have their own form of the queries. */
function scoresOfRing(sinks: number, { heads, far, ring, scoring }: StepInput): Value {
  const product = (layout: HeadLayout, rows: Value): Value =>
    mul(matmul(layout.join(layout.queries), rows, { transposeB: true }), scoring.scale);
  const all = product(heads, ring.keys);
  if (far === undefined || sinks === 0) return all;
  return concat([product(heads.of(far), slice(ring.keys, 2, 0, sinks)), slice(all, 3, sinks)], 3);
}

/** Additive bias of row scores: `maskedScore` for hidden rows, and the model's bias by distance. */
function biasOf({ masks }: StepBlock, { heads, scoring: { bias }, horizon }: StepInput): Value {
  const masked = heads.tile(scoreBias(masks.same));
  return bias === undefined ? masked : add(masked, biasOfRows(bias, masks.offsets, horizon.reach, heads));
}

/** Σ w_j [v_j, 1] over positions older than each node's window: [B,M,R·T,E+1]. */
function olderSums(memory: WindowMemory, input: StepInput, ring: StepBlock | undefined, tree: StepBlock): Value {
  const { heads, sums, parameters, inputs, scoring } = input;
  if (sums === undefined) throw internalError('a state without the sums of the memory');
  const M = Number(heads.queries.shape[1]);
  const queries = heads.mapped((rows) => queryFeatures(memory, rows, scoring.scale, parameters)); // [B,M,R*T,F]
  const read = matmul(queries, sums); // [B,M,R*T,E+1]

  const older = (ofRing: Value | undefined, ofTree: Value, axis: number): Value =>
    ofRing === undefined ? ofTree : concat([gather(ofRing, inputs[olderName], axis), ofTree], axis); // U + T rows
  const features = keyFeatures(memory, older(ring?.keys, tree.keys, 2), scoring.scale, parameters); // [B,M,U+T,F]
  const products = matmul(queries, features, { transposeB: true });
  const unfolded = mul(products, heads.tile(older(ring?.masks.earlier, tree.masks.earlier, 3)));
  const counted = countedValues(older(ring?.values, tree.values, 2));
  const decay = logDecay(memory, tree.keys, M, parameters);
  if (decay === undefined) return add(read, matmul(unfolded, counted));
  const factor = (age: Value): Value => exp(mul(reshape(decay, [M, 1, 1]), heads.tile(age))); // [B,M,R*T,rows]
  const ages = older(ring && inputs[ageNames.ring], inputs[ageNames.tree], 3);
  return add(mul(read, factor(inputs[ageNames.sums])), matmul(mul(unfolded, factor(ages)), counted));
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
