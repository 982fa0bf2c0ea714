/**
 * Mamba-2 over token trees. A row of the ring is [B, g, B and C before their filters] and [dt·x, x before its filter]; S
 * [Γ,N,RP] is the decayed Σ Bᵀ(dt·x) at the end of the last chunk that has closed.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul, sum } from '../../../graph/ops/contraction.ts';
import { add, exp, mul } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, slice, split, transpose } from '../../../graph/ops/layout.ts';
import { cumulativeSum } from '../../../graph/ops/recurrence.ts';
import type { Fold, MixerStepOutput, StateShape, StepInput } from '../../mixer.ts';
import { nodeRows } from '../../step-blocks.ts';
import { ageInputs, stepDecays } from '../gated/decay.ts';
import { convolvedNodes, lastRows, lastRowsInputs } from '../short-conv/step.ts';
import { groupedFilters, joinedRows, type Mamba2Mixer, mamba2Rows, skipped } from './config.ts';

export const mamba2Inputs = lastRowsInputs<Mamba2Mixer>('m', ({ groups }) => groups, ageInputs);

export function mamba2State({ heads, headWidth, state, groups, kernel, group }: Mamba2Mixer): StateShape {
  const repeat = heads / groups;
  return {
    slots: Math.max(group, kernel - 1),
    keyWidth: 3 * state + repeat,
    valueWidth: 2 * repeat * headWidth,
    folded: { kind: 'sums', rows: state, columns: repeat * headWidth },
  };
}

/** B, g and dt·x of rows. */
function splitRow({ heads, headWidth, state: N, groups }: Mamba2Mixer, keys: Value, values: Value): readonly Value[] {
  const R = heads / groups;
  const axis = keys.rank - 1;
  return [slice(keys, axis, 0, N), slice(keys, axis, N, N + R), slice(values, axis, 0, R * headWidth)];
}

export function mamba2Step(config: Mamba2Mixer, input: StepInput): MixerStepOutput {
  const { heads: H, headWidth: P, state: N, groups: Γ } = config;
  const { ring, parameters, sums } = input;
  const R = H / Γ;
  const raw = joinedRows(config, input); // [B,T,Γ,RP+2N]
  const [heldKeys, heldLogs, heldValues] = splitRow(config, ring.keys, ring.values);
  const [lastKeys, lastValues] = [ring.keys, ring.values].map((rows) => lastRows(rows, input.inputs));
  const held = concat([slice(lastValues, 3, R * P), slice(lastKeys, 3, N + R)], 3); // [B,L−1,Γ,RP+2N]
  const filters = groupedFilters(config, parameters);
  const rows = mamba2Rows(config, input, convolvedNodes(held, raw, filters, input.inputs));
  const [B, T] = raw.shape;
  const queries = nodeRows(rows.queries); // [B,Γ,T,N]
  const keys = nodeRows(rows.keys);
  const values = nodeRows(reshape(rows.values, [B, T, Γ, R * P])); // [B,Γ,T,RP]
  /** Numbers of R heads side by side [B,Γ,any,R·X] → [B,Γ,R,any,X]. */
  const apart = (grouped: Value, X: number): Value =>
    transpose(reshape(grouped, [B, Γ, grouped.shape[2], R, X]), [0, 1, 3, 2, 4]);
  const ofHeads = (factors: Value): Value => reshape(factors, [B, Γ, R, ...factors.shape.slice(2)]);
  const logs = nodeRows(reshape(rows.decays, [B, T, Γ, R])); // [B,Γ,T,R]
  const perHead = (grouped: Value): Value => reshape(apart(grouped, 1), [B, H, grouped.shape[2], 1]);
  const decays = stepDecays(input, perHead(heldLogs), perHead(logs));
  const read = (from: Value, own: Value, factors: Value): Value => {
    const scores = matmul(queries, from, { transposeB: true }); // [B,Γ,T,rows]
    const weights = mul(ofHeads(factors), reshape(scores, [B, Γ, 1, T, scores.shape[3]]));
    return matmul(weights, apart(own, P)); // [B,Γ,R,T,P]
  };
  let mixed = add(read(heldKeys, heldValues, decays.ring), read(keys, values, decays.tree));
  if (sums !== undefined) mixed = add(mixed, mul(apart(matmul(queries, sums), P), ofHeads(decays.sums)));
  const y = reshape(transpose(mixed, [0, 1, 3, 2, 4]), [B, Γ, T, R * P]);
  const skip = nodeRows(reshape(skipped(rows.x, parameters), [B, T, Γ, R * P]));
  const [x, ...unfiltered] = split(nodeRows(raw), 3, [R * P, N, N]);
  return { mixed: add(y, skip), keys: concat([keys, logs, ...unfiltered], 3), values: concat([values, x], 3) };
}

export const mamba2Fold: Fold<Mamba2Mixer> = {
  shareAs: ({ heads, headWidth, groups, state }) => `mamba2 ${heads / groups} ${headWidth} ${state}`,
  reads: ({ heads, headWidth, state, groups }) => ({
    keys: state + heads / groups,
    values: (heads / groups) * headWidth,
  }),
  fold(config, { keys, values, sums }) {
    const { headWidth: P, heads, groups } = config;
    /** Numbers of heads [X,any,RP] times factors [X,any,R]. */
    const scaled = (numbers: Value, factors: Value): Value =>
      reshape(mul(apart(numbers, P), apart(factors, 1)), numbers.shape);
    const apart = (numbers: Value, X: number): Value =>
      reshape(numbers, [numbers.shape[0], numbers.shape[1], heads / groups, X]);
    const [rows, logs, added] = splitRow(config, keys, values);
    const behind = exp(cumulativeSum(logs, 1, { exclusive: true, reverse: true })); // [X,n,R]
    const terms = matmul(rows, scaled(added, behind), { transposeA: true }); // [X,N,RP]
    return add(scaled(sums, exp(sum(logs, [1], true))), terms);
  },
};
