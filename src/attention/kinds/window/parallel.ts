/** Window attention over whole sequences: block by block for near positions, sums over groups for the memory. */
import type { Value } from '../../../graph/graph.ts';
import { broadcastTo, matmul } from '../../../graph/ops/contraction.ts';
import { add, mul } from '../../../graph/ops/elementwise.ts';
import { gather } from '../../../graph/ops/indexing.ts';
import { concat, reshape, slice, split, transpose } from '../../../graph/ops/layout.ts';
import { int32, tensor } from '../../../graph/tensor.ts';
import { relativeBucket } from '../../../nn/relative-positions.ts';
import { maskedScore, scoreBias } from '../../attention-mask.ts';
import { addConvolution, shiftBlocks } from '../../convolution.ts';
import { type Grouping, groupingOf, groupKeys, groupQueries, ungroupQueries } from '../../grouping.ts';
import type { BidirectionalInput, ProjectedPositions, Reading, SequenceInput } from '../../mixer.ts';
import type { Scoring } from '../../scoring.ts';
import { sinkOfGroups, softmaxWithSink } from '../../sink-logits.ts';
import type { WindowMixer } from './config.ts';
import { rememberedRow } from './memory.ts';

export interface WindowBlocks {
  /** The blocks as groups. */
  readonly grouping: Grouping;
  /** s, or 0 if every position's window contains all sinks. */
  readonly sinks: number;
  /** The blocks that a block reads, by distance: −1, 0, 1. */
  readonly shifts: readonly number[];
  /** The position in every block's columns [N][C]; negative or ≥ n for none. */
  readonly columns: readonly Int32Array[];
}

/** Divides a sequence into blocks. */
function windowBlocks(
  { group: G, window: W, sinks }: WindowMixer,
  positions: Pick<ProjectedPositions, 'q' | 'k'>,
  reading: Reading,
): WindowBlocks {
  const grouping = groupingOf(positions, G * Math.max(W - 1, 1));
  const { length, group: Bk, groups: N } = grouping;
  const isSplit = N > 1 && W > 1;
  const shifts = [...(isSplit ? [-1] : []), 0, ...(isSplit && reading === 'whole' ? [1] : [])];
  const needed = Math.ceil(length / G) > W ? Math.min(sinks, length) : 0;
  const columns = Array.from({ length: N }, (_, block) =>
    Int32Array.from([
      ...Array.from({ length: needed }, (__, j) => j),
      ...shifts.flatMap((shift) => Array.from({ length: Bk }, (__, i) => (block + shift) * Bk + i)),
    ]),
  );
  return { grouping, sinks: needed, shifts, columns };
}

/** Rows [B,n,M,X] of keys or values as every block's queries read them: [M,B·N,C,X]. */
function blockColumns({ grouping, sinks, shifts }: WindowBlocks, rows: Value): Value {
  const { batch: B, group: Bk, groups: N, keyValueHeads: M } = grouping;
  const X = Number(rows.shape[3]);
  const blocks = reshape(groupKeys(grouping, rows), [M, B, N, Bk, X]);
  const parts = shifts.map((shift) => shiftBlocks(blocks, shift));
  if (sinks > 0) {
    const first = reshape(transpose(slice(rows, 1, 0, sinks), [2, 0, 1, 3]), [M, B, 1, sinks, X]);
    parts.unshift(broadcastTo(first, [M, B, N, sinks, X]));
  }
  return reshape(parts.length === 1 ? parts[0] : concat(parts, 3), [M, B * N, sinks + shifts.length * Bk, X]);
}

/**
 * Scores [M,B·N,R·Bk,C] with the model's bias, and `maskedScore` for columns a query does not read.
 * @param tokens [B,n], encoders only: 1 for tokens, 0 for padding
 */
function maskedScores(
  config: WindowMixer,
  blocks: WindowBlocks,
  scores: Value,
  scoring: Scoring,
  tokens: Value | undefined,
): Value {
  const { batch: B, group: Bk, groups: N, keyValueHeads: M, repeat: R } = blocks.grouping;
  const C = blocks.columns[0].length;
  const perHead = reshape(scores, [M, B, N, R, Bk, C]);
  const bias = columnBias(blocks, scoring);
  const biased = bias === undefined ? perHead : add(perHead, bias);
  const unread =
    tokens === undefined
      ? visibleColumns(config, blocks, scores, 'past')
      : scoreBias(mul(visibleColumns(config, blocks, scores, 'whole'), columnTokens(blocks, tokens)));
  return reshape(add(biased, unread), [M, B * N, R * Bk, C]);
}

/** Columns visible to a block's queries: a bias for the past, a mask of 1 and 0 for whole texts: [N,1,Bk,C]. */
function visibleColumns(config: WindowMixer, blocks: WindowBlocks, like: Value, reading: Reading): Value {
  const { grouping, columns, sinks } = blocks;
  const { group: Bk, groups: N, length } = grouping;
  const C = columns[0].length;
  const [name, seen, unseen] = reading === 'past' ? ['bias', 0, maskedScore] : ['mask', 1, 0];
  const key = `window ${config.group} ${config.window} ${sinks} of ${length} ${reading} ${name}`;
  return like.graph.sharedConstant(key, () => {
    const values = new Float32Array(N * Bk * C).fill(unseen);
    columns.forEach((positions, block) => {
      for (let i = 0; i < Bk; i++) {
        for (const [column, j] of positions.entries()) {
          if (reads(config, block * Bk + i, j, { reading, isSink: column < sinks, length: N * Bk })) {
            values[(block * Bk + i) * C + column] = seen;
          }
        }
      }
    });
    return tensor('float32', [N, 1, Bk, C], values);
  });
}

/** Whether position t reads position j in a column. The sinks' columns are for positions whose window does not contain them. */
function reads(
  { group: G, window: W }: WindowMixer,
  t: number,
  j: number,
  { reading, isSink, length }: { readonly reading: Reading; readonly isSink: boolean; readonly length: number },
): boolean {
  if (j < 0 || j >= length || (reading === 'past' && j > t)) return false;
  const isNear = Math.abs(Math.floor(t / G) - Math.floor(j / G)) < W;
  return isNear !== isSink;
}

/** A mask [B,n] by column: [B,N,1,1,C]. */
function columnTokens(blocks: WindowBlocks, tokens: Value): Value {
  const { batch: B, length, groups: N } = blocks.grouping;
  const perHead = reshape(tokens, [B, length, 1, 1]);
  const one = { ...blocks, grouping: { ...blocks.grouping, keyValueHeads: 1 } };
  return reshape(blockColumns(one, perHead), [B, N, 1, 1, blocks.columns[0].length]);
}

/** The model's bias by distance: [M,1,N,R,Bk,C]. */
function columnBias({ grouping, columns }: WindowBlocks, { bias }: Scoring): Value | undefined {
  if (bias === undefined) return undefined;
  const { group: Bk, groups: N, keyValueHeads: M, repeat: R } = grouping;
  const C = columns[0].length;
  const key = `window buckets ${Bk} ${JSON.stringify(bias.scheme)} ${columns.map(([first]) => first).join()} ${C}`;
  const buckets = bias.table.graph.sharedConstant(key, () => {
    const indices = columns.flatMap((positions, block) =>
      Array.from({ length: Bk }, (_, i) =>
        Array.from(positions, (j) => relativeBucket(block * Bk + i - j, bias.scheme)),
      ).flat(),
    );
    return int32([N * Bk * C], Int32Array.from(indices));
  });
  const perHead = transpose(gather(bias.table, buckets), [1, 0]); // [H,N*Bk*C]
  return transpose(reshape(perHead, [M, R, 1, N, Bk, C]), [0, 2, 3, 1, 4, 5]);
}

/** The causal form: [B,n,H,E]. */
export function windowParallel(config: WindowMixer, input: SequenceInput): Value {
  const { mixed, grouping } = attend(config, input, undefined);
  return addConvolution(config.convolution, mixed, grouping, input.v, input.parameters);
}

/** The encoder's form, whose windows reach as far ahead as back, without the convolution: [B,n,H,E]. */
export function windowOfWhole(config: WindowMixer, input: BidirectionalInput): Value {
  return attend(config, input, input.mask).mixed;
}

function attend(config: WindowMixer, input: SequenceInput, tokens: Value | undefined) {
  const { q, far, k, v, scoring } = input;
  const blocks = windowBlocks(config, input, tokens === undefined ? 'past' : 'whole');
  const { grouping } = blocks;
  const products = columnProducts(blocks, k, [mul(q, scoring.scale), far && mul(far, scoring.scale)]);
  const scores = maskedScores(config, blocks, products, scoring, tokens);
  const values = blockColumns(blocks, v); // [M,B*N,C,E]
  const remembered = rememberedRow(config, input, grouping, tokens);
  const sink = sinkOfGroups(grouping, input.parameters);
  if (remembered === undefined) {
    return { mixed: ungroupQueries(grouping, matmul(softmaxWithSink(scores, sink), values)), grouping };
  }
  const C = blocks.columns[0].length;
  const [near, older] = split(softmaxWithSink(concat([scores, remembered.score], 3), sink), 3, [C, 1]);
  const mixed = add(matmul(near, values), mul(older, remembered.value));
  return { mixed: ungroupQueries(grouping, mixed), grouping };
}

/** Products of queries with their blocks' columns; sinks use their own form of the queries: [M,B·N,R·Bk,C]. */
function columnProducts(blocks: WindowBlocks, k: Value, [near, far]: readonly [Value, Value | undefined]): Value {
  const { grouping, sinks } = blocks;
  const product = (q: Value, keys: Value): Value => matmul(groupQueries(grouping, q), keys, { transposeB: true });
  const keys = blockColumns(blocks, k); // [M,B*N,C,D]
  if (far === undefined || sinks === 0) return product(near, keys);
  const [first, others] = split(keys, 2, [sinks, Number(keys.shape[2]) - sinks]);
  return concat([product(far, first), product(near, others)], 3);
}
