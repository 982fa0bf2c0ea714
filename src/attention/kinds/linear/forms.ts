/** Linear attention in groups, as a training graph and as a decoding step. */
import type { Value } from '../../../graph/graph.ts';
import { collision } from '../../../graph/ops/surrogate-gradient.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, addAll, exp, mul, relu } from '../../../graph/ops/elementwise.ts';
import { zeros } from '../../../graph/tensor.ts';
import { unitLength } from '../../../graph/ops/normalization.ts';
import { maskedReluSquared } from '../../../graph/ops/activations.ts';
import { type AttentionMask, causalAttention, fullAttention } from '../../attention-mask.ts';
import { addGroupedConvolution } from '../../convolution.ts';
import { groupKeys, groupQueries, groupingOf, repeatRows, repeatedShape, ungroupQueries } from '../../grouping.ts';
import type {
  BidirectionalInput,
  MixerParameterValues,
  RecurrentForm,
  SequenceInput,
  StepBlock,
  StepInput,
} from '../../mixer.ts';
import { boundedLength, castle, dividedBySum, scaled } from '../../normalization.ts';
import { scoresInGroups, scoresOfRows } from '../../scoring.ts';
import { softmaxInGroups, softmaxOfRows } from '../../softmax.ts';
import { type LinearMixer, type LocalBranch, type LocalKernel, collisionBits, fadeOf } from './config.ts';
import { reshape } from '../../../graph/ops/layout.ts';
import { ageNames, declareGroupAges, groupAges } from '../../group-ages.ts';
import {
  addStepConvolution,
  blocksOf,
  convolutionWeights,
  joinBlocks,
  nodeRows,
  orderedSums,
  weightedValues,
} from '../../step-blocks.ts';
import { spanOf } from '../../masks.ts';
import { ringState, sumsOfHeads } from '../../state.ts';

// The linear kind over whole sequences, group by group: the local branch is a [G,G] product inside each group, the global
// branch multiplies by an exclusive prefix sum over the groups' k̂ᵀv. Cost per position is constant in n.

/** The causal form: [B,n,H,E]. */
export function linearParallel(config: LinearMixer, input: SequenceInput): Value {
  const grouping = groupingOf(input, config.group);
  const attention = attendGroups(config, causalAttention(grouping), input);
  const mixed = addGroupedConvolution(config.convolution, attention, grouping, input.v, input.parameters);
  const nothing = (): Value =>
    input.q.graph.constant(zeros('float32', repeatedShape(grouping, Number(input.v.shape[3]))));
  return ungroupQueries(grouping, mixed ?? nothing());
}

/**
 * The encoder's form, without the convolution: the local branch over all tokens of the current group, the global branch
 * over the other groups, or over the whole text without a local branch. [B,n,H,E]; undefined if there is nothing to read.
 */
export function linearOfWhole(config: LinearMixer, input: BidirectionalInput): Value | undefined {
  const isGrouped = config.local !== null;
  const grouping = groupingOf(input, isGrouped ? config.group : Number.POSITIVE_INFINITY);
  const mixed = attendGroups(config, fullAttention(grouping, grouping, input.mask, isGrouped), input);
  return mixed && ungroupQueries(grouping, mixed);
}

/**
 * λ·local + α·global, with the norms between them and castling, but without the convolution. [M,B·N,R·G,E]; undefined if
 * there is nothing to read: a global branch alone sees nothing from the first group.
 */
function attendGroups(config: LinearMixer, mask: AttentionMask, input: SequenceInput): Value | undefined {
  const { q, k, v, parameters } = input;
  const values = groupKeys(mask.keys, v);
  const unitQueries = groupQueries(mask.queries, unitLength(q));
  const unitKeys = groupKeys(mask.keys, unitLength(k));

  const branches: Value[] = [];
  if (config.local !== null) {
    const branch = config.local;
    const cosines = (): Value => matmul(unitQueries, unitKeys, { transposeB: true }); // [M,B*N,R*G,G]
    const visible = (): Value => mask.visible(unitQueries);
    const weighted = (weights: Value): Value =>
      matmul(config.normalize === 'local' ? dividedBySum([weights])[0] : weights, values);
    const kernels: Readonly<Record<LocalKernel, () => Value>> = {
      relu2: () => weighted(maskedReluSquared(cosines(), visible())),
      'relu2-raw': () => weighted(maskedReluSquared(scoresInGroups(mask, input), visible())),
      softmax: () => softmaxInGroups(mask, input),
      yoso: () => weighted(mul(collision(cosines(), collisionBits(branch)), visible())),
    };
    branches.push(scaled(kernels[branch.kernel](), parameters.local_factor));
  }
  const global = config.global === null ? undefined : mask.outside(unitQueries, unitKeys, values, fadeOf(config));
  if (global !== undefined) {
    branches.push(scaled(config.normalize === 'global' ? boundedLength(global) : global, parameters.global_factor));
  }
  let mixed = branches.length === 0 ? undefined : addAll(branches);
  if (mixed !== undefined && config.normalize === 'together') mixed = boundedLength(mixed);
  return config.castling ? castle(mixed, repeatRows(mask.keys, values)) : mixed;
}

// The linear kind over token trees on top of a state. A node sees two blocks of rows: the ring (the last C committed
// positions) and the tree. Two masks per block mark its ancestors in its own group, and in earlier groups not yet folded
// into S; offsets index a row's filter weight. Groups that closed within the prefix are in S. So
//
//     o_a = Σ_rows [ same·max(q̂_a·k̂_j, 0)² + α·earlier·(q̂_a·k̂_j) + w[offset] ]·v_j + α·q̂_a S
//
// (`earlier` and S times fade^age, see `group-ages.ts`), which is exact for trees that straddle group boundaries (the
// reference code drops the group that has just closed).

/** fade^age. */
function faded(config: LinearMixer, age: Value): Value {
  return exp(mul(age, Math.log(fadeOf(config))));
}

/** The block with weights instead of a mask for its rows in earlier groups. */
function fadedBlock(config: LinearMixer, block: StepBlock, age: Value | undefined): StepBlock {
  if (age === undefined) return block;
  return { ...block, masks: { ...block.masks, earlier: mul(block.masks.earlier, faded(config, age)) } };
}

/** Kernels that read q and k as they are. */
const rawKernels: readonly LocalKernel[] = ['softmax', 'relu2-raw'];

/** Keys are stored as the local kernel reads them: raw for some, else k̂. */
function storesRawKeys({ local }: LinearMixer): boolean {
  return local !== null && rawKernels.includes(local.kernel);
}

export const linearRecurrent: RecurrentForm<LinearMixer> = {
  /** The open group's ring, the convolution's rows, and S with a global branch; a growing cache if the group never ends. */
  state({ group, local, global, convolution }, dims) {
    const reads = local !== null || global !== null;
    return ringState(dims, {
      group: reads ? group : 1,
      convolution,
      folded: global && sumsOfHeads(dims, spanOf(group)),
    });
  },
  step(config, input) {
    const rows = nodeRows(input.k); // [B,M,T,D]
    const keys = storesRawKeys(config) ? rows : unitLength(rows);
    const values = nodeRows(input.v); // [B,M,T,E]
    const { ring, tree } = blocksOf(input, keys, values);
    const ages: Readonly<Record<string, Value | undefined>> = input.inputs;
    const ofTree = fadedBlock(config, tree, ages[ageNames.tree]);
    const blocks = ring === undefined ? [ofTree] : [fadedBlock(config, ring, ages[ageNames.ring]), ofTree];
    return { mixed: mixBlocks(config, input, blocks, values), keys, values };
  },
  /** S ← fade^groups S + Σ fade^age k̂ᵀv over rows of closed groups. */
  fold: {
    shareAs: (config) =>
      `${storesRawKeys(config) ? 'raw' : 'unit'} keys${fadeOf(config) === 1 ? '' : ` ${fadeOf(config)}`}`,
    readsAges: (config) => fadeOf(config) !== 1,
    fold(config, { keys, values, sums, ages }) {
      const unitKeys = storesRawKeys(config) ? unitLength(keys) : keys;
      if (ages === undefined) return add(sums, matmul(unitKeys, values, { transposeA: true }));
      const rows = mul(unitKeys, faded(config, reshape(ages.rows, [keys.shape[1], 1])));
      return add(mul(sums, faded(config, ages.groups)), matmul(rows, values, { transposeA: true }));
    },
  },
  inputs: {
    tag: (config) => (fadeOf(config) === 1 ? '' : 'f'),
    declare: (config, { slots, treeRows, withinFolds }) =>
      fadeOf(config) === 1 || withinFolds ? {} : declareGroupAges(slots, treeRows),
    feeds: groupAges,
  },
  sameBits: () => 'open rows',
};

/** [B,M,R·T,E] @param values the nodes' [B,M,T,E] */
function mixBlocks(config: LinearMixer, input: StepInput, apart: readonly StepBlock[], values: Value): Value {
  const { heads, sums, parameters, open, withinFolds } = input;
  const blocks = Number.isFinite(config.group) && open === undefined ? [joinBlocks(apart)] : apart;
  const { local_factor: lambda, global_factor: alpha } = parameters;
  // If keys are stored as unit vectors, the node's own are made with its queries.
  const unitQueries = storesRawKeys(config) ? unitLength(heads.joined) : heads.mapped(unitLength);
  const age: Value | undefined = input.inputs[ageNames.sums];
  const readers = age === undefined ? unitQueries : mul(unitQueries, heads.tile(faded(config, age)));
  const unitKeys = (block: StepBlock): Value => (storesRawKeys(config) ? unitLength(block.keys) : block.keys);
  const scores = blocks.map((block) => matmul(unitQueries, unitKeys(block), { transposeB: true })); // [B,M,R*T,rows]

  // Each branch's weights per block. Without norms between branches they are added before the product with the values.
  const given = config.local === null ? undefined : localWeights(config.local, input, blocks, scores);
  const local =
    given !== undefined && config.normalize === 'local' ? dividedBySum(given, open && orderedSums(open, given)) : given;
  const global = (factor?: Value): Value[] | undefined =>
    config.global === null || withinFolds
      ? undefined
      : blocks.map(({ masks }, i) => mul(scaled(scores[i], factor), heads.tile(masks.earlier)));

  const areVectorsKept = config.normalize === null || config.normalize === 'local';
  if (areVectorsKept && !config.castling) {
    const isShared =
      config.local?.kernel === 'relu2' && config.normalize === null && config.global !== null && !withinFolds;
    const read = isShared
      ? [
          blocks.map(({ masks }, i) =>
            nearAndFar(scores[i], heads.tile(masks.same), heads.tile(masks.earlier), parameters),
          ),
        ]
      : [local?.map((weight) => scaled(weight, lambda)), global(alpha)];
    const branches = [...read, convolutionWeights(input, blocks)];
    const present = branches.filter((branch) => branch !== undefined);
    const weights = blocks.map((_, i) => present.map((branch) => branch[i]));
    const terms = present.length === 0 ? [] : [weightedValues(blocks, weights.map(addAll))];
    if (config.global !== null && sums !== undefined) terms.push(scaled(matmul(readers, sums), alpha));
    return addAll(terms);
  }

  const parts: Value[] = [];
  if (local !== undefined) parts.push(scaled(weightedValues(blocks, local), lambda));
  if (config.global !== null && sums !== undefined) {
    const far = global();
    const folded = matmul(readers, sums);
    const summed = far === undefined ? folded : add(weightedValues(blocks, far), folded);
    parts.push(scaled(config.normalize === 'global' ? boundedLength(summed) : summed, alpha));
  }
  let mixed = parts.length === 0 ? undefined : addAll(parts);
  if (mixed !== undefined && config.normalize === 'together') mixed = boundedLength(mixed);
  if (config.castling) mixed = castle(mixed, heads.repeat(values));
  return addStepConvolution(mixed, input, blocks);
}

/** λ·near·max(s, 0)² + α·far·s as one product with the scores, which then reads them fewer times. No row is both near and far. */
function nearAndFar(
  scores: Value,
  near: Value,
  far: Value,
  { local_factor: lambda, global_factor: alpha }: MixerParameterValues,
): Value {
  return mul(scores, add(scaled(mul(relu(scores), near), lambda), scaled(far, alpha)));
}

export function localWeights(
  branch: LocalBranch,
  input: StepInput,
  blocks: readonly StepBlock[],
  unitScores: readonly Value[],
): Value[] {
  const visible = (block: StepBlock): Value => input.heads.tile(block.masks.same);
  const kernels: Readonly<Record<LocalKernel, () => Value[]>> = {
    softmax: () => softmaxOfRows(input, blocks),
    relu2: () => blocks.map((block, i) => maskedReluSquared(unitScores[i], visible(block))),
    'relu2-raw': () => scoresOfRows(input, blocks).map((score, i) => maskedReluSquared(score, visible(blocks[i]))),
    yoso: () => blocks.map((block, i) => mul(collision(unitScores[i], collisionBits(branch)), visible(block))),
  };
  return kernels[branch.kernel]();
}
