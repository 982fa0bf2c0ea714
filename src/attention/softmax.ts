/** Softmax attention inside groups and over a step's rows, which several kinds build on. */
import type { Value } from '../graph/graph.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { add, mul } from '../graph/ops/elementwise.ts';
import { concat, slice } from '../graph/ops/layout.ts';
import { type AttentionMask, causalAttention } from './attention-mask.ts';
import { groupingOf, groupKeys, groupQueries, ungroupQueries } from './grouping.ts';
import type { SequenceInput, StepBlock, StepInput } from './mixer.ts';
import { scoresInGroups, scoresOfRows } from './scoring.ts';
import { sinkOfGroups, softmaxWithSink } from './sink-logits.ts';
import { maskScores, softmaxOverRows } from './step-blocks.ts';

/** Softmax of q·k·scale over the visible part of the current group, with raw queries and keys. [M,B·N,R·G,E] */
export function softmaxInGroups(mask: AttentionMask, input: SequenceInput): Value {
  const scores = scoresInGroups(mask, input);
  const weights = softmaxWithSink(add(scores, mask.bias(scores)), sinkOfGroups(mask.queries, input.parameters));
  return matmul(weights, groupKeys(mask.keys, input.v));
}

/** Most scores per product, in numbers: 256 MiB. */
const mostScores = 1 << 26;
/** A block's queries are a multiple of this, at least one. */
const blockStep = 64;

/** Queries that attend at once, with at most `most` scores from B·H heads over n keys. */
export function queriesPerBlock(heads: number, n: number, most = mostScores): number {
  return Math.min(n, Math.max(1, Math.floor(most / (heads * n * blockStep))) * blockStep);
}

/**
 * Causal softmax attention over whole rows: [B,n,H,E]. Long rows attend in blocks of queries, each over the keys up to its
 * end, so that neither scores nor masks grow with n². A learned bias by distance (T5) supports whole rows only.
 * @param most scores per product; default 2²⁶
 */
export function causalSoftmax(input: SequenceInput, most = mostScores): Value {
  const { q, k, v, scoring } = input;
  const [B, n, H] = q.shape.map(Number);
  const whole = groupingOf(input, Number.POSITIVE_INFINITY);
  const size = queriesPerBlock(B * H, n, most);
  if (size >= n || scoring.bias !== undefined) {
    return ungroupQueries(whole, softmaxInGroups(causalAttention(whole), input));
  }
  const [keys, values] = [groupKeys(whole, k), groupKeys(whole, v)]; // [M,B,n,D]
  const blocks = Array.from({ length: Math.ceil(n / size) }, (_, block) => {
    const [start, end] = [block * size, Math.min(n, (block + 1) * size)];
    const own = { q: slice(q, 1, start, end), k: slice(k, 1, start, end) };
    const grouping = groupingOf(own, Number.POSITIVE_INFINITY);
    const queries = groupQueries(grouping, mul(own.q, scoring.scale)); // [M,B,R·size,D]
    const scoresOf = (from: number, to: number): Value =>
      matmul(queries, slice(keys, 2, from, to), { transposeB: true });
    const scores = add(scoresOf(start, end), causalAttention(grouping).bias(queries));
    const all = start === 0 ? scores : concat([scoresOf(0, start), scores], 3); // [M,B,R·size,end]
    const weights = softmaxWithSink(all, sinkOfGroups(grouping, input.parameters));
    return ungroupQueries(grouping, matmul(weights, slice(values, 2, 0, end)));
  });
  return concat(blocks, 1);
}

/** Scores of the rows in all blocks, masked unless a node sees the row one by one: [B,M,R·T,rows] each. */
export function maskedScoresOfRows(
  input: Pick<StepInput, 'heads' | 'scoring' | 'horizon'>,
  blocks: readonly StepBlock[],
): Value[] {
  return scoresOfRows(input, blocks).map((score, i) => maskScores(score, blocks[i].masks, input.heads));
}

/** Softmax weights of the rows that a node sees one by one, over all blocks together: [B,M,R·T,rows] each. */
export function softmaxOfRows(input: StepInput, blocks: readonly StepBlock[]): Value[] {
  return softmaxOverRows(input, blocks, maskedScoresOfRows(input, blocks));
}
