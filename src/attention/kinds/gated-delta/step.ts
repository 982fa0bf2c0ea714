/**
 * The gated delta rule over token trees, by replay or by matrix products. For products the ring keeps [k̂, g] and the
 * written values u, which no later commit or fold changes. A tree node's written values depend on its ancestors': with rows
 * in topological order, a triangular system.
 */
import { internalError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { matmul } from '../../../graph/ops/contraction.ts';
import { add, mul, sub } from '../../../graph/ops/elementwise.ts';
import { inverse } from '../../../graph/ops/inverse.ts';
import { concat, pad, slice, split } from '../../../graph/ops/layout.ts';
import { unitLength } from '../../../graph/ops/normalization.ts';
import { tensor } from '../../../graph/tensor.ts';
import type { AttentionDims, FoldInput, MixerStepOutput, RecurrentForm, StateShape, StepInput } from '../../mixer.ts';
import { ringState, sumsOfHeads } from '../../state.ts';
import { addStepConvolution, blocksOf, nodeRows } from '../../step-blocks.ts';
import { ageInputs, logDecays, stepDecays } from '../gated/decay.ts';
import { amplifiedNodes } from '../gated/config.ts';
import { foldDecayed, lanes, sigmoidOfRuntime, softplusOfRuntime, splitRows } from '../gated/step.ts';
import { type GatedDeltaMixer, writeGates } from './config.ts';
import type { DeltaRows } from './parallel.ts';
import { foldReplayed, replayDelta, replayedRows, replayInputs, sideBySide } from './replay.ts';
import { normalizedSum } from '../features/output.ts';

/** Tokens read at once: the system's work grows with T³ (128 would make Qwen3.5-0.8B's prompts 8 % slower). */
export const nodesSolved = 64;

/** Each node itself: the identity [1,1,T,T]. */
const selfName = 'self.tree';

export const gatedDeltaInputs: typeof ageInputs = {
  tag: () => 't',
  declare: (config, dims, named) => ({
    ...ageInputs.declare(config, dims, named),
    [selfName]: { dtype: 'float32', shape: [1, 1, 'T', 'T'] },
  }),
  feeds: (config, steps, T, slots) => ({
    ...ageInputs.feeds(config, steps, T, slots),
    [selfName]: tensor(
      'float32',
      [1, 1, T, T],
      Float32Array.from({ length: T * T }, (_, i) => (i % (T + 1) === 0 ? 1 : 0)),
    ),
  }),
};

/** The ring with the written values (and the raw values for a convolution), and S [M,D,E]. */
function stateByProducts({ group, convolution }: GatedDeltaMixer, dims: AttentionDims): StateShape {
  const { headWidth, valueWidth = headWidth } = dims;
  const state = ringState(dims, { group, convolution, folded: sumsOfHeads(dims), keyWidth: headWidth + 1 });
  return { ...state, valueWidth: (convolution === null ? 1 : 2) * valueWidth };
}

function stepByProducts({ decay, output, convolution }: GatedDeltaMixer, input: StepInput): MixerStepOutput {
  const { heads, ring, parameters, treeMasks } = input;
  const values = nodeRows(input.v); // [B,M,T,E]
  const E = Number(values.shape[3]);
  const [ringWritten, ringValues] = convolution === null ? [ring.values] : split(ring.values, 3, [E, E]);
  const { mixed, keys, written } = deltaOfNodes(input, ringWritten, {
    queries: heads.mapped(unitLength), // [B,M,R*T,D]
    keys: unitLength(nodeRows(input.k)),
    values,
    gates: nodeRows(writeGates(input.v, parameters)),
    logs: nodeRows(logDecays(decay, input.v, parameters)),
  });
  const amplified = amplifiedNodes(normalizedSum(output, mixed), heads, parameters);
  const blocks = [
    { keys: ring.keys, values: ringValues ?? ringWritten, masks: ring.masks },
    { keys, values, masks: treeMasks },
  ];
  return {
    mixed: addStepConvolution(amplified, input, blocks),
    keys,
    values: convolution === null ? written : concat([written, values], 3),
  };
}

/**
 * The rule over trees' nodes; rows are `DeltaRows` with the heads outermost: queries [B,M,R·T,D], others [B,M,T,X].
 * @param ringWritten the ring's u [B,M,C,E]; its keys are [k̂, g]
 * @returns the outputs [B,M,R·T,E]; [k̂, g] and u of the nodes, for the ring
 */
export function deltaOfNodes(
  input: StepInput,
  ringWritten: Value,
  { queries, keys, values, gates, logs }: DeltaRows,
): { readonly mixed: Value; readonly keys: Value; readonly written: Value } {
  const { heads, ring, sums, inputs, treeMasks } = input;
  if (sums === undefined) throw internalError('a delta rule without its state');
  const [ringKeys, ringLogs] = splitRows(ring.keys, Number(keys.shape[3]));
  const decays = stepDecays(input, ringLogs, logs);

  // Values that the state and the ring store for the nodes' keys.
  const ofRing = mul(matmul(keys, ringKeys, { transposeB: true }), decays.ring); // [B,M,T,C]
  const held = add(matmul(mul(keys, decays.sums), sums), matmul(ofRing, ringWritten)); // [B,M,T,E]
  const self = inputs[selfName];
  const path = add(treeMasks.same, treeMasks.earlier); // [B,1,T,T]
  const ofAncestors = mul(matmul(keys, keys, { transposeB: true }), mul(mul(decays.tree, gates), sub(path, self)));
  // Masked: if an entry is above 1, a pivot moves and rounding leaves traces of other branches.
  const solved = mul(inverse(add(ofAncestors, self)), path); // [B,M,T,T]
  const written = matmul(solved, mul(sub(values, held), gates)); // [B,M,T,E]

  const read = (rows: Value, factor: Value, own: Value): Value =>
    matmul(mul(matmul(queries, rows, { transposeB: true }), heads.repeat(factor)), own);
  const ofState = matmul(mul(queries, heads.repeat(decays.sums)), sums);
  const mixed = add(ofState, add(read(ringKeys, decays.ring, ringWritten), read(keys, decays.tree, written)));
  return { mixed, keys: concat([keys, logs], 3), written };
}

/** S after rows [k̂, g], and values that begin with u. */
export function foldWritten({ keys, values, sums }: FoldInput): Value {
  const [rows, logs] = splitRows(keys, Number(sums.shape[1]));
  const E = Number(sums.shape[2]);
  return foldDecayed(sums, rows, logs, slice(values, 2, 0, E));
}

/** The form by matrix products. */
const byProducts: RecurrentForm<GatedDeltaMixer> = {
  state: stateByProducts,
  step: stepByProducts,
  fold: {
    shareAs: ({ convolution }) => `gated delta${convolution === null ? '' : ' with values'}`,
    fold: (_, input) => foldWritten(input),
  },
  inputs: gatedDeltaInputs,
  promptChunk: nodesSolved,
};

/** Positions between folds in steps, whatever the chunks of whole sequences: a step replays all since the last fold. */
const replayedGroup = 8;

/** The ring of [k̂, g, β] and values, and S [M,D,E]. */
function stateOf({ group, convolution }: GatedDeltaMixer, dims: AttentionDims): StateShape {
  const keyWidth = Math.ceil((dims.headWidth + 2) / lanes) * lanes;
  return ringState(dims, { group, convolution, folded: sumsOfHeads(dims), keyWidth });
}

function step({ decay, output }: GatedDeltaMixer, input: StepInput): MixerStepOutput {
  const { heads, parameters, open, ring } = input;
  if (open === undefined) throw internalError('a delta rule without open rows');
  const logs = logDecays(decay, input.v, parameters, softplusOfRuntime);
  const gates = writeGates(input.v, parameters, sigmoidOfRuntime);
  const rows = concat([unitLength(input.k), logs, gates], 3); // [B,T,M,D+2]
  const width = Number(rows.shape[3]);
  const keys = pad(rows, 3, 0, Number(ring.keys.shape[ring.keys.rank - 1]) - width);
  const own = rowsOf(keys, input.v, width - 2);
  const held = rowsOf(nodeRows(open.keys), nodeRows(open.values), width - 2);
  const { mixed, sums } = replayDelta(input, sideBySide(unitLength(input.q)), own, held);
  const amplified = amplifiedNodes(normalizedSum(output, heads.of(mixed).joined), heads, parameters);
  const kept = { keys: nodeRows(keys), values: nodeRows(input.v) };
  const blocks = blocksOf(input, kept.keys, kept.values).all;
  return { mixed: addStepConvolution(amplified, input, blocks), ...kept, sums };
}

/** The ring's rows [B,n,M,X] and [B,n,M,E] as the rule replays them: [B,n,M·(D+E+2)]. */
function rowsOf(rows: Value, values: Value, D: number): Value {
  const [keys, logs, gates] = split(slice(rows, 3, 0, D + 2), 3, [D, 1, 1]).map(sideBySide);
  return replayedRows({ keys, values: sideBySide(values), logs, gates });
}

export const gatedDeltaRecurrent: RecurrentForm<GatedDeltaMixer> = {
  state: stateOf,
  step,
  fold: {
    shareAs: () => 'gated delta rows',
    byLayer: true,
    fold: (_, { keys, values, sums, repeat }) =>
      foldReplayed(rowsOf(nodeRows(keys), nodeRows(values), Number(sums.shape[2])), sums, repeat),
  },
  inputs: replayInputs,
  sameBits: () => 'replayed open rows',
  stepConfig: (config) => ({ ...config, group: replayedGroup }),
  byProducts,
};
