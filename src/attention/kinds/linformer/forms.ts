/**
 * Linformer as published (Wang et al., "Linformer: Self-Attention with Linear Complexity"): projects the whole sequence's
 * keys and values to r rows, which every position attends to. For encoders: in a causal model every output would depend on
 * every later token.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, addAll, mul } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, slice, split, transpose } from '../../../graph/ops/layout.ts';
import { softmax } from '../../../graph/ops/normalization.ts';
import { max } from '../../../graph/ops/reduce.ts';
import {
  type AttentionMask,
  causalAttention,
  fullAttention,
  groupMask,
  maskedScore,
  scoreBias,
} from '../../attention-mask.ts';
import { reachOf } from '../../convolution-config.ts';
import { addGroupedConvolution } from '../../convolution.ts';
import { type Grouping, groupKeys, groupQueries, groupingOf, ungroupQueries } from '../../grouping.ts';
import { HeadLayout } from '../../head-layout.ts';
import type {
  BidirectionalInput,
  CrossForm,
  CrossMemory,
  MixerParameterValues,
  RecurrentForm,
  SequenceInput,
} from '../../mixer.ts';
import {
  nodeBlocks,
  convolutionWeights,
  maskScores,
  nodeRows,
  softmaxOverRows,
  weightedValues,
} from '../../step-blocks.ts';
import {
  type BlockLinformerMixer,
  type LinformerMixer,
  keyProjection,
  requireFittingLength,
  valueProjection,
} from './config.ts';
import { learnedParameter } from '../../attention-layer.ts';
import { internalError } from '../../../errors.ts';
import { gather } from '../../../graph/ops/indexing.ts';
import { multiplyDims, tensor } from '../../../graph/tensor.ts';
import { foldStart, openBlock, spanOf, type SequenceStep, openCount } from '../../masks.ts';
import { ringState } from '../../state.ts';

/** A text's memory, and attention to it: softmax(q·(E k)ᵀ·scale)·(F v). E and F [r,N] are cut to the text's length. */
export const linformerCross: CrossForm<LinformerMixer> = {
  tensors: ({ rows }, { keyValueHeads, headWidth, valueWidth = headWidth }) => ({
    keys: [keyValueHeads, rows, headWidth],
    values: [keyValueHeads, rows, valueWidth],
  }),
  memory(config, { k, v, mask }, parameters) {
    const [B, m] = mask.shape;
    const tokens = reshape(mask, [B, m, 1, 1]);
    return projected(config, mul(k, tokens), mul(v, tokens), parameters);
  },
  read(_, q, memory, __, { scale }) {
    const heads = new HeadLayout(q, Number(memory.keys.shape[1]));
    const queries = heads.join(mul(heads.queries, scale));
    const scores = matmul(queries, memory.keys, { transposeB: true }); // [B,M,R*n,r]
    return heads.split(matmul(softmax(scores), memory.values));
  },
};

/** Rows [B,M,r,D] and [B,M,r,E]; padding must have zero keys and values. @throws LinnetError `SHAPE` for too long a text */
function projected(config: LinformerMixer, k: Value, v: Value, parameters: MixerParameterValues): CrossMemory {
  const length = Number(k.shape[1]);
  requireFittingLength(config, length);
  const rows = (name: string, x: Value): Value =>
    matmul(slice(learnedParameter(parameters, name), 1, 0, length), nodeRows(x));
  return { keys: rows(keyProjection, k), values: rows(valueProjection, v) };
}

/** The form over whole sequences, without the convolution: [B,n,H,E]. */
export function linformerOfWhole(config: LinformerMixer, input: SequenceInput): Value {
  const { q, k, v, parameters, scoring } = input;
  return linformerCross.read(config, q, projected(config, k, v, parameters), parameters, scoring);
}

/** The causal form: [B,n,H,E]. */
export function blockLinformerParallel(config: BlockLinformerMixer, input: SequenceInput): Value {
  const grouping = groupingOf(input, config.block);
  const seen = (like: Value): Value => blockBias(config, grouping, like, (row, column) => column < row);
  const mixed = attend(config, causalAttention(grouping), seen, input);
  return ungroupQueries(
    grouping,
    addGroupedConvolution(config.convolution, mixed, grouping, input.v, input.parameters),
  );
}

/** The encoder's form, without the convolution: [B,n,H,E]. */
export function blockLinformerOfWhole(config: BlockLinformerMixer, input: BidirectionalInput): Value {
  const { mask } = input;
  const grouping = groupingOf(input, config.block);
  const { batch: B, length, groups: N } = grouping;
  const seen = (like: Value): Value => {
    const others = blockBias(config, grouping, like, (row, column) => column !== row);
    const inUse = reshape(max(groupMask(grouping, mask), [-1], true), [B, 1, N, 1]);
    const spread = mul(inUse, ones(like, config.rows)); // [B,1,N,r]
    return add(others, scoreBias(reshape(spread, [B, 1, 1, N * config.rows])));
  };
  const masked = { ...input, k: mul(input.k, reshape(mask, [B, length, 1, 1])) };
  return ungroupQueries(grouping, attend(config, fullAttention(grouping, grouping, mask, true), seen, masked));
}

/** @param seen the projected rows' score bias; broadcasts to [M,B,N,R·G,N·r] */
function attend(
  config: BlockLinformerMixer,
  mask: AttentionMask,
  seen: (like: Value) => Value,
  { q, k, v, parameters, scoring }: SequenceInput,
): Value {
  const { batch: B, group: G, groups: N, keyValueHeads: M, repeat: R } = mask.keys;
  const [D, E] = [Number(k.shape[3]), Number(v.shape[3])];
  const queries = groupQueries(mask.queries, mul(q, scoring.scale)); // [M,B*N,R*G,D]
  const keys = groupKeys(mask.keys, k);
  const values = groupKeys(mask.keys, v);
  const own = add(matmul(queries, keys, { transposeB: true }), mask.bias(queries)); // [M,B*N,R*G,G]
  if (N === 1) return matmul(softmax(own), values);

  const { rows } = config;
  const projections = blockProjections(parameters);
  const projectedKeys = reshape(matmul(projections.keys, keys), [M, B, N * rows, D]);
  const projectedValues = reshape(matmul(projections.values, values), [M, B, N * rows, E]);
  const joined = reshape(queries, [M, B, N * R * G, D]);
  const scores = reshape(matmul(joined, projectedKeys, { transposeB: true }), [M, B, N, R * G, N * rows]);
  const all = concat([add(scores, seen(queries)), reshape(own, [M, B, N, R * G, G])], 4);
  const [ofRows, ofOwn] = split(softmax(all), 4, [N * rows, G]);
  const fromRows = matmul(reshape(ofRows, [M, B, N * R * G, N * rows]), projectedValues);
  const fromOwn = matmul(reshape(ofOwn, [M, B * N, R * G, G]), values);
  return add(reshape(fromRows, [M, B * N, R * G, E]), fromOwn);
}

/** E and F [r,G]. */
function blockProjections(parameters: MixerParameterValues): { keys: Value; values: Value } {
  return { keys: learnedParameter(parameters, keyProjection), values: learnedParameter(parameters, valueProjection) };
}

/** [N,1,N·r]: 0 where a block's queries see another block's rows, else `maskedScore`. */
function blockBias(
  { rows }: BlockLinformerMixer,
  { groups: N }: Grouping,
  like: Value,
  sees: (block: number, other: number) => boolean,
): Value {
  const name = `linformer blocks ${N} ${rows} ${sees(0, 1) ? 'other' : 'earlier'}`;
  return like.graph.sharedNumbers(name, [N, 1, N * rows], (i) =>
    sees(Math.floor(i / (N * rows)), Math.floor((i % (N * rows)) / rows)) ? 0 : maskedScore,
  );
}

/** [count] ones, a constant. */
function ones(like: Value, count: number): Value {
  return like.graph.sharedNumbers(`ones ${count}`, [count], () => 1);
}

// Linformer by blocks over token trees. The memory holds the projected rows of the committed prefix's closed blocks. A
// block that closes among the tree's nodes, made of committed rows and a node's ancestors, is projected on the fly: with A
// = q·kᵀ over the rows not projected yet, `earlier` the mask of a node's ancestors in closed blocks, and P [rows, N·r] each
// row's weights (from E or F) in its block's projected rows,
//
//     scores of projected rows = (A ∘ earlier)·P_E,      weights of rows = (weights of projected rows · P_Fᵀ) ∘ earlier.
//
// P is the same for all nodes, since a row's offset in its block depends on its position alone. So trees that close any
// number of blocks are exact, without a projection per node.

export const blockLinformerRecurrent: RecurrentForm<BlockLinformerMixer> = {
  /** The open block's ring, and r rows of keys and values per closed block: a memory that grows with the text. */
  state: ({ block: group, convolution, rows: perGroup }, dims) =>
    ringState(dims, { group, convolution, folded: { kind: 'rows', perGroup, span: spanOf(group) } }),
  step({ rows: r }, input) {
    const { heads, memory, scoring, parameters, inputs } = input;
    if (memory === undefined) throw internalError('a state without the memory of closed blocks');
    const { keys, values, all: blocks } = nodeBlocks(input);
    const queries = heads.join(mul(heads.queries, scoring.scale));
    const projections = blockProjections(parameters);
    const earlier = blocks.map(({ masks }) => heads.tile(masks.earlier)); // [B,1,R*T,rows]
    const names = blocks.length === 1 ? ['tree'] : ['ring', 'tree'];
    const membership = names.map((block) => ({
      offsets: inputs[`offsets.${block}`],
      member: inputs[`member.${block}`],
    }));

    const exact = blocks.map((block) => matmul(queries, block.keys, { transposeB: true })); // [B,M,R*T,rows]
    const ofMemory = add(matmul(queries, memory.keys, { transposeB: true }), scoreBias(memory.held)); // [B,M,R*T,S]
    const ofClosing = addAll(
      exact.map((score, i) => matmul(mul(score, earlier[i]), spreadWeights(projections.keys, membership[i], r))),
    ); // [B,M,R*T,N*r]
    const weights = softmaxOverRows(input, blocks, [
      ...exact.map((score, i) => maskScores(score, blocks[i].masks, heads)),
      ofMemory,
      add(ofClosing, heads.tile(scoreBias(repeatBlocks(inputs.closed, r)))),
    ]);
    const [memoryWeights, closingWeights] = weights.slice(blocks.length);

    const convolution = convolutionWeights(input, blocks);
    const rowWeights = blocks.map((_, i) => {
      const spread = matmul(closingWeights, spreadWeights(projections.values, membership[i], r), { transposeB: true });
      const attended = add(weights[i], mul(spread, earlier[i]));
      return convolution === undefined ? attended : add(attended, convolution[i]);
    });
    const mixed = add(matmul(memoryWeights, memory.values), weightedValues(blocks, rowWeights));
    return { mixed, keys, values };
  },
  /** The projected rows of closed blocks. */
  fold: {
    shareAs: () => null,
    fold(_, { keys, values, parameters }) {
      const projections = blockProjections(parameters);
      return concat([matmul(projections.keys, keys), matmul(projections.values, values)], 3);
    },
  },
  inputs: {
    declare: (_, { slots, treeRows, opens }, named) => ({
      /** 1 if the node lies behind the c-th block, which has therefore closed. */
      closed: { dtype: 'float32', shape: ['B', 1, 'T', named('N')] },
      ...(!opens && {
        'offsets.ring': { dtype: 'int32', shape: ['B', slots] },
        'member.ring': { dtype: 'float32', shape: ['B', slots, named('N')] },
      }),
      'offsets.tree': { dtype: 'int32', shape: ['B', treeRows] },
      'member.tree': { dtype: 'float32', shape: ['B', treeRows, named('N')] },
    }),
    feeds({ block, rows: r }, steps, nodes, slots) {
      const B = steps.length;
      const rows = openCount(steps) + nodes;
      const { count, closed, ring, tree } = blockMembership(steps, nodes, slots, block, r);
      return {
        closed: tensor('float32', [B, 1, nodes, count], closed),
        'offsets.ring': tensor('int32', [B, slots], ring.offsets),
        'offsets.tree': tensor('int32', [B, rows], tree.offsets),
        'member.ring': tensor('float32', [B, slots, count], ring.member),
        'member.tree': tensor('float32', [B, rows, count], tree.member),
      };
    },
  },
  // Longer rings are not fully open.
  sameBits({ block, convolution }) {
    return Math.max(block, reachOf(convolution)) <= openBlock ? 'open rows' : undefined;
  },
};

/** P [B,1,rows,N·r]: each row's weight in its block's r projected rows; zero for other blocks. */
function spreadWeights(projection: Value, { offsets, member }: BlockMembership, r: number): Value {
  const [B, rows, N] = member.shape;
  const weights = gather(transpose(projection, [1, 0]), offsets); // [B,rows,r]
  const spread = mul(reshape(member, [B, rows, N, 1]), reshape(weights, [B, rows, 1, r]));
  const width = multiplyDims(N, r);
  return reshape(reshape(spread, [B, rows, width]), [B, 1, rows, width]);
}

/** Repeats each number r times: [B,1,T,N] → [B,1,T,N·r]. */
function repeatBlocks(closed: Value, r: number): Value {
  const [B, , T, N] = closed.shape;
  const repeated = mul(reshape(closed, [B, T, N, 1]), ones(closed, r)); // [B,T,N,r]
  const width = multiplyDims(N, r);
  return reshape(reshape(repeated, [B, T, width]), [B, 1, T, width]);
}

/** Maps rows (the ring's or the tree's) to the blocks that are projected. */
export interface BlockMembership {
  /** int32 [B,rows]: 0…G−1, position within the block. */
  readonly offsets: Value;
  /** float32 0/1 [B,rows,N]: the row lies in the c-th block. */
  readonly member: Value;
}

/** Rows' offsets and membership while they are filled in. */
interface FilledRows {
  readonly offsets: Int32Array;
  readonly member: Float32Array;
}

/** Products sum columns beyond a multiple of this in another order. */
const lanes = 16;

/**
 * N, and the numbers of one step. N is at least what nodes need that cross no fold; if folds span several blocks, it is
 * rounded up to a column count that sums in the same order.
 * @param block G
 */
function blockMembership(steps: readonly SequenceStep[], nodes: number, slots: number, block: number, r: number) {
  const span = spanOf(block);
  const blockOf = (position: number): number => Math.floor(position / block);
  const firstOf = ({ committed }: SequenceStep): number => foldStart(committed, { group: block, span }) / block;
  let least = span / block;
  while (span > block && (least * r) % lanes > 0) least++;
  const count = steps.reduce(
    (most, step) => Math.max(most, blockOf(step.committed + step.tree.height) - firstOf(step)),
    least,
  );
  const filled = (rows: number): FilledRows => ({
    offsets: new Int32Array(steps.length * rows),
    member: new Float32Array(steps.length * rows * count),
  });
  const open = openCount(steps);
  const [ring, tree] = [filled(slots), filled(open + nodes)];
  const closed = new Float32Array(steps.length * nodes * count);
  const put = ({ offsets, member }: FilledRows, row: number, position: number, first: number): void => {
    const index = blockOf(position) - first;
    if (index < 0 || index >= count) return;
    offsets[row] = position % block;
    member[row * count + index] = 1;
  };
  steps.forEach((step, b) => {
    const { slotPositions, open: opened, tree: own, committed, rule } = step;
    const first = firstOf(step);
    slotPositions.forEach((position, slot) => {
      if (position >= 0 && position < committed) put(ring, b * slots + slot, position, first);
    });
    opened?.positions.forEach((position, i) => {
      if (position >= 0) put(tree, b * (open + nodes) + i, position, first);
    });
    own.depths.forEach((depth, node) => {
      const row = b * nodes + node;
      put(tree, b * (open + nodes) + open + node, committed + depth, first);
      const behind = blockOf(committed + (rule?.seesClosedGroups === false ? 0 : depth)) - first;
      closed.fill(1, row * count, row * count + behind);
    });
  });
  return { count, closed, ring, tree };
}
