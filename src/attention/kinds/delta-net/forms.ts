/** Gated DeltaNet over sequences and token trees: its rows, convolved, under the gated delta rule. */
import type { Value } from '../../../graph/graph.ts';
import { mul, sigmoid, silu } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, slice, split } from '../../../graph/ops/layout.ts';
import { groupingOf, ungroupQueries } from '../../grouping.ts';
import type { MixerStepOutput, RecurrentForm, SequenceInput, StateShape, StepInput } from '../../mixer.ts';
import { defaultGroup } from '../../preset.ts';
import { nodeRows } from '../../step-blocks.ts';
import { deltaOfSequences, type DeltaRows } from '../gated-delta/parallel.ts';
import { foldReplayed, replayDelta, replayedRows, replayInputs, sideBySide } from '../gated-delta/replay.ts';
import { deltaOfNodes, foldWritten, gatedDeltaInputs, nodesSolved } from '../gated-delta/step.ts';
import { convolvedNodes, convolvedSequences, lastRows, lastRowsInputs } from '../short-conv/forms.ts';
import { deltaNetDecays, deltaNetLength, deltaNetNumbers, type DeltaNetMixer, filtersOf, siluOf } from './config.ts';

/** Splits a position into the channels under the filters, the gate's number and the decay's. */
function parts({ keyWidth: D }: DeltaNetMixer, { q, k, v }: SequenceInput) {
  const [queries, b] = split(q, 3, [D, 1]);
  const [keys, a] = split(k, 3, [D, 1]);
  return { channels: [queries, keys, v], b, a };
}

/** The rule's rows. @param convolved [B,n,M,2D+E] @param order of the result's axes: [B,n,M,X] or another */
function ruleRows(
  { keyWidth: D, valueWidth: E, doubled }: DeltaNetMixer,
  convolved: Value,
  { b, a }: Record<'b' | 'a', Value>,
  { parameters }: SequenceInput,
  order: (rows: Value) => Value = (rows) => rows,
): DeltaRows {
  const [q, k, values] = split(order(siluOf(convolved)), 3, [D, D, E]);
  const gates = mul(sigmoid(b), doubled === true ? 2 : 1);
  return {
    queries: deltaNetLength(q, true),
    keys: deltaNetLength(k),
    values,
    gates: order(gates),
    logs: order(deltaNetDecays(a, parameters)),
  };
}

/** Chunks have the size that computes fastest, whatever the ring. */
export function deltaNetParallel(config: DeltaNetMixer, input: SequenceInput): Value {
  const { channels, ...gates } = parts(config, input);
  const convolved = convolvedSequences(concat(channels, 3), concat(filtersOf(config, input.parameters), 2));
  const grouping = groupingOf(input, defaultGroup);
  return ungroupQueries(grouping, deltaOfSequences(grouping, ruleRows(config, convolved, gates, input)));
}

/** Rows [B,T,W] of all heads together, as a one-piece state holds them: [B,1,T,W]. */
function inOnePiece(rows: Value): Value {
  const [B, T, W] = rows.shape;
  return reshape(rows, [B, 1, T, W]);
}

/** The ring of [k̂, v, g, β] and the channels under the filters, each for all heads side by side, and S [M·D,E]. */
function stateOf({ group, heads: M, keyWidth: D, valueWidth: E, kernel }: DeltaNetMixer): StateShape {
  const folded = { kind: 'sums', rows: M * D, columns: E } as const;
  const widths = { keyWidth: M * (D + E + 2), valueWidth: M * (2 * D + E) };
  return { heads: 1, slots: Math.max(group, kernel - 1), ...widths, folded };
}

function step(config: DeltaNetMixer, input: StepInput): MixerStepOutput {
  const { heads: M, keyWidth: D, valueWidth: E } = config;
  const { channels, ...gates } = parts(config, input);
  const raw = concat(channels.map(sideBySide), 2); // [B,T,M·(2D+E)]
  const [B, T, W] = raw.shape;
  const filters = reshape(concat(filtersOf(config, input.parameters).map(sideBySide), 1), [config.kernel, 1, W]);
  const held = lastRows(input.ring.values, input.inputs);
  const convolved = convolvedNodes(held, reshape(raw, [B, T, 1, W]), filters, input.inputs);
  const [queriesAndKeys, values] = split(reshape(silu(convolved), raw.shape), 2, [2 * M * D, M * E]);
  const lengths = deltaNetLength(reshape(queriesAndKeys, [B, T, 2 * M, D]));
  const [queries, keys] = split(sideBySide(lengths), 2, [M * D, M * D]);
  const own = replayedRows({ keys, values, ...deltaNetNumbers(config, gates, input.parameters) });
  const { mixed, sums } = replayDelta(input, queries, own, input.ring.keys, 1 / Math.sqrt(D));
  return { mixed: nodeRows(mixed), keys: inOnePiece(own), values: inOnePiece(raw), sums };
}

/** The ring of [k̂, g] and [u, the channels under the filters], and S [M,D,E]. */
function stateByProducts(config: DeltaNetMixer): StateShape {
  const { keyWidth: D, valueWidth: E } = config;
  const folded = { kind: 'sums', rows: D, columns: E } as const;
  return { slots: stateOf(config).slots, keyWidth: D + 1, valueWidth: 2 * (D + E), folded };
}

function stepByProducts(config: DeltaNetMixer, input: StepInput): MixerStepOutput {
  const { valueWidth: E } = config;
  const { channels, ...gates } = parts(config, input);
  const raw = concat(channels, 3); // [B,T,M,2D+E]
  const ringWritten = slice(input.ring.values, 3, 0, E);
  const ringRaw = slice(lastRows(input.ring.values, input.inputs), 3, E);
  const filters = concat(filtersOf(config, input.parameters), 2);
  const convolved = convolvedNodes(ringRaw, raw, filters, input.inputs);
  const rows = ruleRows(config, convolved, gates, input, nodeRows);
  const { mixed, keys, written } = deltaOfNodes(input, ringWritten, rows);
  return { mixed, keys, values: concat([written, nodeRows(raw)], 3) };
}

/** The form by matrix products. */
const byProducts: RecurrentForm<DeltaNetMixer> = {
  state: stateByProducts,
  step: stepByProducts,
  fold: {
    shareAs: () => 'delta net',
    reads: ({ valueWidth }) => ({ values: valueWidth }),
    fold: (_, input) => foldWritten(input),
  },
  inputs: lastRowsInputs<DeltaNetMixer>('n', ({ heads }) => heads, gatedDeltaInputs),
  promptChunk: nodesSolved,
};

export const deltaNetRecurrent: RecurrentForm<DeltaNetMixer> = {
  state: stateOf,
  step,
  fold: {
    shareAs: () => 'delta net rows',
    reads: () => ({ values: 0 }),
    fold: (_, { keys, sums }) => foldReplayed(keys, sums),
  },
  inputs: lastRowsInputs<DeltaNetMixer>('f', () => 1, replayInputs),
  sameBits: () => 'replayed rows',
  byProducts,
};
