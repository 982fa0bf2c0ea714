/**
 * Linformer by blocks over token trees. Closed blocks of the committed prefix are projected rows of the memory. A block
 * that closes among the nodes of the tree, made of committed rows and a node's ancestors, is projected on the fly: with
 * A = q·kᵀ over the rows that are not projected yet, `earlier` the mask of a node's ancestors in closed blocks, and P
 * the matrix [rows, N·r] of the weights by E or F of a row in each projected row of its block,
 *
 *     scores of projected rows = (A ∘ earlier)·P_E,      weights of rows = (weights of projected rows · P_Fᵀ) ∘ earlier.
 *
 * P is the same for all nodes, since a row's offset in its block depends on its position alone: so trees that close any
 * number of blocks are exact, without a projection per node.
 */
import { internalError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, addAll, mul } from '../../../graph/ops/elementwise.ts';
import { gather } from '../../../graph/ops/indexing.ts';
import { concat, reshape, transpose } from '../../../graph/ops/layout.ts';
import { multiplyDims, tensor } from '../../../graph/tensor.ts';
import { scoreBias } from '../../attention-mask.ts';
import { openCount, type SequenceStep } from '../../masks.ts';
import type { AttentionDims, Fold, LayoutInputs, MixerStepOutput, StateShape, StepInput } from '../../mixer.ts';
import { ringState } from '../../state.ts';
import {
  blocksOf,
  convolutionWeights,
  maskScores,
  nodeRows,
  softmaxOverRows,
  weightedValues,
} from '../../step-blocks.ts';
import type { BlockLinformerMixer } from './config.ts';
import { blockProjections, ones } from './parallel.ts';

/** The ring of the open block, and r rows of keys and values for every closed block, a memory that grows with the text. */
export function blockLinformerState(config: BlockLinformerMixer, dims: AttentionDims): StateShape {
  const { block: group, convolution, rows: perGroup } = config;
  return ringState(dims, { group, convolution, folded: { kind: 'rows', perGroup } });
}

export function blockLinformerStep({ rows: r }: BlockLinformerMixer, input: StepInput): MixerStepOutput {
  const { heads, memory, scoring, parameters, inputs } = input;
  if (memory === undefined) throw internalError('a state without the memory of closed blocks');
  const [keys, values] = [nodeRows(input.k), nodeRows(input.v)];
  const { all: blocks } = blocksOf(input, keys, values);
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
}

/** P [B,1,rows,N·r]: weight of each row in the r projected rows of its block; zero for other blocks. */
function spreadWeights(projection: Value, { offsets, member }: BlockMembership, r: number): Value {
  const [B, rows, N] = member.shape;
  const weights = gather(transpose(projection, [1, 0]), offsets); // [B,rows,r]
  const spread = mul(reshape(member, [B, rows, N, 1]), reshape(weights, [B, rows, 1, r]));
  const width = multiplyDims(N, r);
  return reshape(reshape(spread, [B, rows, width]), [B, 1, rows, width]);
}

/** [B,1,T,N] → [B,1,T,N·r], each number r times. */
function repeatBlocks(closed: Value, r: number): Value {
  const [B, , T, N] = closed.shape;
  const repeated = mul(reshape(closed, [B, T, N, 1]), ones(closed, r)); // [B,T,N,r]
  const width = multiplyDims(N, r);
  return reshape(reshape(repeated, [B, T, width]), [B, 1, T, width]);
}

/** The projected rows of blocks that have closed. */
export const blockLinformerFold: Fold<BlockLinformerMixer> = {
  shareAs: () => null,
  fold(_, { keys, values, parameters }) {
    const projections = blockProjections(parameters);
    return concat([matmul(projections.keys, keys), matmul(projections.values, values)], 3);
  },
};

/** Where the rows of a block of rows (the ring or the tree) lie in the blocks that are projected. */
export interface BlockMembership {
  /** int32 [B,rows]: 0…G−1, position within the block. */
  readonly offsets: Value;
  /** float32 0/1 [B,rows,N]: the row lies in the c-th block. */
  readonly member: Value;
}

/** Offsets and membership of rows, as they are filled. */
interface FilledRows {
  readonly offsets: Int32Array;
  readonly member: Float32Array;
}

export const membershipInputs: LayoutInputs<BlockLinformerMixer> = {
  declare: (_, { slots, treeRows, opens }, named) => ({
    /** 1 where the node lies behind the c-th block, which so has closed. */
    closed: { dtype: 'float32', shape: ['B', 1, 'T', named('N')] },
    ...(!opens && {
      'offsets.ring': { dtype: 'int32', shape: ['B', slots] },
      'member.ring': { dtype: 'float32', shape: ['B', slots, named('N')] },
    }),
    'offsets.tree': { dtype: 'int32', shape: ['B', treeRows] },
    'member.tree': { dtype: 'float32', shape: ['B', treeRows, named('N')] },
  }),
  feeds({ block }, steps, nodes, slots) {
    const B = steps.length;
    const rows = openCount(steps) + nodes;
    const { count, closed, ring, tree } = blockMembership(steps, nodes, slots, block);
    return {
      closed: tensor('float32', [B, 1, nodes, count], closed),
      'offsets.ring': tensor('int32', [B, slots], ring.offsets),
      'offsets.tree': tensor('int32', [B, rows], tree.offsets),
      'member.ring': tensor('float32', [B, slots, count], ring.member),
      'member.tree': tensor('float32', [B, rows, count], tree.member),
    };
  },
};

/** N, at least 1, and the numbers of one step. @param block G */
function blockMembership(steps: readonly SequenceStep[], nodes: number, slots: number, block: number) {
  const blockOf = (position: number): number => Math.floor(position / block);
  const count = steps.reduce(
    (most, { committed, tree }) => Math.max(most, blockOf(committed + tree.height) - blockOf(committed)),
    1,
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
  steps.forEach(({ slotPositions, open: opened, tree: own, committed, rule }, b) => {
    const first = blockOf(committed);
    slotPositions.forEach((position, slot) => {
      if (position >= 0 && position < committed) put(ring, b * slots + slot, position, first);
    });
    opened?.positions.forEach((position, i) => {
      if (position >= 0) put(tree, b * (open + nodes) + i, position, first);
    });
    own.depths.forEach((depth, node) => {
      const row = b * nodes + node;
      put(tree, b * (open + nodes) + open + node, committed + depth, first);
      const behind = rule?.seesClosedGroups === false ? 0 : blockOf(committed + depth) - first;
      closed.fill(1, row * count, row * count + behind);
    });
  });
  return { count, closed, ring, tree };
}
