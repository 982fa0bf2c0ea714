/**
 * Gated linear attention over token trees. The ring keeps keys' features with their log decays, [φ(k), g], and values; S is
 * the decayed Σ φ(k)ᵀv at the end of the last closed chunk.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul, sum } from '../../../graph/ops/contraction.ts';
import { add, exp, mul } from '../../../graph/ops/elementwise.ts';
import { concat, pad, reshape, slice } from '../../../graph/ops/layout.ts';
import { cumulativeSum, deltaGates } from '../../../graph/ops/recurrence.ts';
import { multiplyDims } from '../../../graph/tensor.ts';
import { openBlock } from '../../masks.ts';
import type { AttentionDims, Fold, MixerStepOutput, RecurrentForm, StateShape, StepInput } from '../../mixer.ts';
import { ringState } from '../../state.ts';
import { addStepConvolution, blocksOf, nodeRows } from '../../step-blocks.ts';
import type { FeatureContext } from '../features/map-graph.ts';
import { keyMapName, queryMapName } from '../features/maps.ts';
import { amplifiedNodes, type GatedMixer, hasLearnedMap, mapRows, widthOf } from './config.ts';
import { ageInputs, logDecays, openDecays, pathInputs, stepDecays } from './decay.ts';
import { normalizedSum, summedValues, summedWidth } from '../features/output.ts';

/** The ring, and S [M,F,E], plus a column for a ratio's denominators. @param columns a row's columns for g */
function stateOf({ group, map, output, convolution }: GatedMixer, dims: AttentionDims, columns: number): StateShape {
  const { headWidth, valueWidth = headWidth } = dims;
  const F = widthOf(map, headWidth);
  const folded = { kind: 'sums', rows: F, columns: summedWidth(output, valueWidth) } as const;
  return ringState(dims, { group, convolution, folded, keyWidth: F + columns });
}

function step(config: GatedMixer, input: StepInput): MixerStepOutput {
  const { map, decay, output } = config;
  const { heads, sums, parameters, scoring, open, ring } = input;
  const values = nodeRows(input.v); // [B,M,T,E]
  const context = (side: 'key' | 'query'): FeatureContext => {
    const weight = parameters[side === 'key' ? keyMapName : queryMapName];
    return { side, scale: scoring.scale, weight };
  };
  const [B, T, M, D] = input.k.shape;
  const ofKeys = mapRows(map, reshape(nodeRows(input.k), [B, M, T, 1, D]), context('key')); // [B,M,T,1,F]
  const F = Number(ofKeys.shape[4]);
  const keys = reshape(ofKeys, [B, M, T, F]);
  const ofQueries = (rows: Value): Value => mapRows(map, rows, context('query'));
  const queries = heads.mapped(ofQueries, hasLearnedMap(map)); // [B,M,R*T,F]
  const logs = nodeRows(logDecays(decay, input.v, parameters, open && softplusOfRuntime)); // [B,M,T,1]
  const kept = pad(concat([keys, logs], 3), 3, 0, Number(ring.keys.shape[ring.keys.rank - 1]) - F - 1);
  const { all: blocks, tree } = blocksOf(input, kept, values);
  const scores = (rows: Value): Value => matmul(queries, slice(rows, 3, 0, F), { transposeB: true });
  const read = (rows: Value, own: Value, factor: Value): Value =>
    matmul(mul(scores(rows), factor), summedValues(output, own));
  let mixed: Value;
  let ofState: Value;
  if (open === undefined) {
    const decays = stepDecays(input, slice(ring.keys, 3, F, F + 1), logs);
    const [ofRing, ofTree] = [decays.ring, decays.tree].map((factor) => heads.repeat(factor));
    mixed = add(read(ring.keys, ring.values, ofRing), read(keys, values, ofTree));
    ofState = heads.repeat(decays.sums);
  } else {
    const decays = openDecays(input, headColumns(slice(tree.keys, 3, F, F + 1)));
    mixed = read(tree.keys, tree.values, decays.rows);
    ofState = decays.sums;
  }
  if (sums !== undefined) mixed = add(mixed, matmul(mul(queries, ofState), sums));
  const amplified = amplifiedNodes(normalizedSum(output, mixed), heads, parameters);
  return { mixed: addStepConvolution(amplified, input, blocks), keys: kept, values };
}

/** Puts the heads of rows [B,M,n,X] side by side: [B,n,M·X]. */
export function headColumns(rows: Value): Value {
  const [B, M, n, X] = rows.shape;
  return reshape(nodeRows(rows), [B, n, multiplyDims(M, X)]);
}

/**
 * softplus(x + bias) and σ(x) in one op of the runtime, whose bits do not depend on a number's place among others.
 * @param x [B,n,M,1]
 * @param bias [M]. Default: none
 */
function gatesOfRuntime(x: Value, bias?: Value): readonly Value[] {
  const M = Number(x.shape[2]);
  const numbers = reshape(x, x.shape.slice(0, 3));
  const all = (value: number): Value => x.graph.sharedNumbers(`${value} of ${M} heads`, [M], () => value);
  return deltaGates(numbers, bias ?? all(0), all(1), numbers).map((each) => reshape(each, x.shape));
}

/** See `gatesOfRuntime`. */
export function softplusOfRuntime(x: Value, bias?: Value): Value {
  return gatesOfRuntime(x, bias)[0];
}

/** See `gatesOfRuntime`. */
export function sigmoidOfRuntime(x: Value): Value {
  return gatesOfRuntime(x)[1];
}

/** φ(k) and g from rows kept as [φ(k), g, any]. @param F numbers in φ(k) */
export function splitRows(kept: Value, F: number): readonly Value[] {
  const axis = kept.rank - 1;
  return [slice(kept, axis, 0, F), slice(kept, axis, F, F + 1)];
}

/** S decayed over n rows, plus the rows' terms: keys [X,n,F], their g [X,n,1], values [X,n,E], S [X,F,E]. */
export function foldDecayed(sums: Value, keys: Value, logs: Value, values: Value): Value {
  const behind = cumulativeSum(logs, 1, { exclusive: true, reverse: true });
  const added = matmul(mul(keys, exp(behind)), values, { transposeA: true });
  return add(mul(sums, exp(sum(logs, [1], true))), added);
}

const fold: Fold<GatedMixer> = {
  shareAs: ({ map, output }) => `gated ${map.name} ${output}`,
  fold({ output }, { keys, values, sums }) {
    const [features, logs] = splitRows(keys, Number(sums.shape[1]));
    return foldDecayed(sums, features, logs, summedValues(output, values));
  },
};

/** A row's length must divide by this for identical bits (`ModelLayout.boundaries`). */
export const lanes = 4;

/** The form for graphs without open rows. */
const byRing: RecurrentForm<GatedMixer> = {
  state: (config, dims) => stateOf(config, dims, 1),
  step,
  fold,
  inputs: ageInputs,
  scoreWidth: ({ map }, { headWidth }) => widthOf(map, headWidth),
};

export const gatedRecurrent: RecurrentForm<GatedMixer> = {
  ...byRing,
  state: (config, dims) => stateOf(config, dims, lanes),
  inputs: pathInputs,
  sameBits: () => 'open rows',
  stepConfig: (config) => ({ ...config, group: openBlock }),
  byProducts: byRing,
};
