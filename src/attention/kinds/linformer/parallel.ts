/**
 * Linformer as published (Wang et al., "Linformer: Self-Attention with Linear Complexity"): keys and values of the whole
 * sequence are projected to r rows, which every position attends to. It is meant for encoders. In a causal model every
 * output depends on every later token.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, mul } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, slice, split } from '../../../graph/ops/layout.ts';
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
import { addGroupedConvolution } from '../../convolution.ts';
import { type Grouping, groupingOf, groupKeys, groupQueries, ungroupQueries } from '../../grouping.ts';
import { HeadLayout } from '../../head-layout.ts';
import type { BidirectionalInput, CrossForm, CrossMemory, MixerParameterValues, SequenceInput } from '../../mixer.ts';
import { nodeRows } from '../../step-blocks.ts';
import {
  type BlockLinformerMixer,
  keyProjection,
  type LinformerMixer,
  requireFittingLength,
  valueProjection,
} from './config.ts';
import { learnedParameter } from '../../attention-layer.ts';

/** The memory of a text, and attention to it: softmax(q·(E k)ᵀ·scale)·(F v). E and F [r,N] are cut to the text's length. */
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

/** Rows [B,M,r,D] and [B,M,r,E]; keys and values of padding must be zero. @throws LinnetError `SHAPE` for too long a text */
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

/** The form of an encoder, without the convolution: [B,n,H,E]. */
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

/** @param seen the bias of the scores of projected rows; broadcasts to [M,B,N,R·G,N·r] */
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
export function blockProjections(parameters: MixerParameterValues): { keys: Value; values: Value } {
  return { keys: learnedParameter(parameters, keyProjection), values: learnedParameter(parameters, valueProjection) };
}

/** [N,1,N·r]: 0 where the queries of a block see the rows of another, else `maskedScore`. */
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
export function ones(like: Value, count: number): Value {
  return like.graph.sharedNumbers(`ones ${count}`, [count], () => 1);
}
