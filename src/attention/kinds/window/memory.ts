/**
 * The memory of positions before the window, as one more row of the softmax. With weights w_j = β γ^age ⟨φ(q), φ(k_j)⟩ over
 * all older positions, its score is ln Σ w_j and its value Σ w_j v_j / Σ w_j. So sums and window share one normalizer, and
 * nothing overflows.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, cast, div, exp, greater, log, maximum, mul, neg } from '../../../graph/ops/elementwise.ts';
import { pad, reshape, slice, split } from '../../../graph/ops/layout.ts';
import { cumulativeSum } from '../../../graph/ops/recurrence.ts';
import { scoreBias } from '../../attention-mask.ts';
import { type Grouping, groupKeys, groupQueries, groupingOf, ungroupQueries } from '../../grouping.ts';
import type { FoldInput, MixerParameterValues, SequenceInput } from '../../mixer.ts';
import { nodeRows } from '../../step-blocks.ts';
import { keyFeatures, queryFeatures, rowwise } from '../features/map-graph.ts';
import { summedValues } from '../features/output.ts';
import { fixedDecay, memoryDecayName, memoryScoreName, type WindowMemory, type WindowMixer } from './config.ts';
import { learnedParameter } from '../../attention-layer.ts';

/** Score [...,1] and value [...,E] of the memory. */
export interface RememberedRow {
  readonly score: Value;
  readonly value: Value;
}

/** Smallest Σ w_j whose logarithm is taken. */
export const leastWeight = 1e-30;

/** The softmax row for sums [...,E+1]: Σ w_j v_j and Σ w_j. */
function rowOfSums(sums: Value): RememberedRow {
  const E = Number(sums.shape[sums.rank - 1]) - 1;
  const [weighted, total] = split(sums, -1, [E, 1]);
  const kept = maximum(total, leastWeight);
  const isThere = cast(greater(total, 0), 'float32');
  return { score: add(log(kept), scoreBias(isThere)), value: div(weighted, kept) };
}

/** Values with a column of ones, whose sum is Σ w_j. */
export function countedValues(values: Value): Value {
  return summedValues('ratio', values);
}

/** β φ of queries [B,H,rows,D], or [B,H,rows,1,D]. */
export function weighedQueries(
  { map }: WindowMemory,
  q: Value,
  input: Pick<FoldInput, 'parameters' | 'scoring'>,
): Value {
  const score = learnedParameter(input.parameters, memoryScoreName);
  const perHead = exp(reshape(score, [score.shape[0], 1, 1]));
  return queryFeatures(map, q, input, q.rank > 4 ? rowwise(perHead) : perHead);
}

/** ln γ per key-value head [M]; undefined without a decay. */
export function logDecay(
  { decay }: WindowMemory,
  like: Value,
  keyValueHeads: number,
  parameters: MixerParameterValues,
) {
  if (decay === 'none') return undefined;
  if (decay === 'fixed') {
    const decays = fixedDecay(keyValueHeads);
    return like.graph.sharedNumbers(`fixed decay ${keyValueHeads}`, [keyValueHeads], (head) => decays[head]);
  }
  return neg(exp(learnedParameter(parameters, memoryDecayName)));
}

/**
 * Every query's row for the groups outside its window: [M,B·N,R·Bk,1 and E] laid out by blocks; undefined if nothing is
 * ever outside.
 * @param tokens [B,n], encoders only
 */
export function rememberedRow(
  config: WindowMixer,
  input: SequenceInput,
  blocks: Grouping,
  tokens: Value | undefined,
): RememberedRow | undefined {
  const { memory, group, window: W, sinks } = config;
  const { q, k, v } = input;
  const grouping = groupingOf(input, group);
  const { batch: B, length, groups: N, keyValueHeads: M } = grouping;
  if (memory === null || N <= W) return undefined;
  const headsFirst = nodeRows; // its own inverse
  const phiQ = headsFirst(weighedQueries(memory, headsFirst(q), input)); // [B,n,H,F]
  const phiK = headsFirst(keyFeatures(memory.map, headsFirst(k), input)); // [B,n,M,F]
  const remembered = mul(phiK, foldedPositions(phiK, length, sinks));
  const keys = groupKeys(
    grouping,
    tokens === undefined ? remembered : mul(remembered, reshape(tokens, [B, length, 1, 1])),
  );
  const values = groupKeys(grouping, countedValues(v));
  const perGroup = matmul(keys, values, { transposeA: true }); // [M,B*N,F,E+1]
  const F = Number(perGroup.shape[2]);
  const columns = Number(perGroup.shape[3]);
  const ordered = reshape(perGroup, [M, B, N, F, columns]);
  const decay = logDecay(memory, k, M, input.parameters);
  const bothSides = tokens !== undefined;
  const older = decay === undefined ? outsideSums(ordered, W, bothSides) : decayedSums(ordered, W, bothSides, decay);
  const sums = matmul(groupQueries(grouping, phiQ), reshape(older, [M, B * N, F, columns])); // [M,B*N,R*G,E+1]
  const arranged = blocks.group === grouping.group ? sums : groupQueries(blocks, ungroupQueries(grouping, sums)); // [M,B*N,R*Bk,E+1]
  return rowOfSums(arranged);
}

/** 0 for sinks, which are never folded, 1 for other positions: [1,n,1,1]. */
function foldedPositions(like: Value, length: number, sinks: number): Value {
  return like.graph.sharedNumbers(`folded ${length} ${sinks}`, [1, length, 1, 1], (position) =>
    position < sinks ? 0 : 1,
  );
}

/** Sums of the groups at least W away, before each or on both sides: [M,B,N,F,E+1]. */
function outsideSums(perGroup: Value, W: number, bothSides: boolean): Value {
  const N = Number(perGroup.shape[2]);
  const before = cumulativeSum(perGroup, 2, { exclusive: true });
  const past = W === 1 ? before : pad(slice(before, 2, 0, N - W + 1), 2, W - 1, 0);
  if (!bothSides) return past;
  const behind = cumulativeSum(perGroup, 2, { exclusive: true, reverse: true });
  return add(past, W === 1 ? behind : pad(slice(behind, 2, W - 1, N), 2, 0, W - 1));
}

/** `outsideSums`, each group times γ to the number of groups between it and the window. */
function decayedSums(perGroup: Value, W: number, bothSides: boolean, decay: Value): Value {
  const [M, B, N, F, columns] = perGroup.shape.map(Number);
  // A function of |b − a| − W, or of b − a − W for the past alone, for queries of group b and keys of group a: [N,N].
  const constant = (name: string, of: (age: number) => number): Value =>
    perGroup.graph.sharedNumbers(`groups ${name} ${N} ${W} ${bothSides}`, [N, N], (i) => {
      const distance = Math.floor(i / N) - (i % N);
      return of((bothSides ? Math.abs(distance) : distance) - W);
    });
  const ages = constant('ages', (age) => Math.max(age, 0));
  const isOutside = constant('outside', (age) => (age >= 0 ? 1 : 0));
  const weights = mul(exp(mul(reshape(decay, [M, 1, 1]), ages)), isOutside); // [M,N,N]
  const sums = matmul(reshape(weights, [M, 1, N, N]), reshape(perGroup, [M, B, N, F * columns]));
  return reshape(sums, [M, B, N, F, columns]);
}
