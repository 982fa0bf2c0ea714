/** Gated DeltaNet over sequences and over token trees: its rows, convolved, under the gated delta rule. */
import type { Value } from '../../../graph/graph.ts';
import { mul, sigmoid, silu } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, slice, split } from '../../../graph/ops/layout.ts';
import { groupingOf, ungroupQueries } from '../../grouping.ts';
import type { MixerStepOutput, RecurrentForm, SequenceInput, StateShape, StepInput } from '../../mixer.ts';
import { defaultGroup } from '../../preset.ts';
import { nodeRows } from '../../step-blocks.ts';
import { deltaOfSequences, type DeltaRows } from '../gated-delta/parallel.ts';
import {
  foldReplayed,
  replayDelta,
  replayedRows,
  replayedRowsOfRing,
  replayInputs,
  sideBySide,
} from '../gated-delta/replay.ts';
import { deltaOfNodes, foldWritten, gatedDeltaInputs, nodesSolved } from '../gated-delta/step.ts';
import { convolvedNodes, convolvedSequences, lastRows, lastRowsInputs } from '../short-conv/forms.ts';
import { deltaNetDecays, deltaNetLength, deltaNetNumbers, type DeltaNetMixer, filtersOf, siluOf } from './config.ts';

/** The projections of a position, apart: the channels under the filters, and one number each of gate and decay. */
function parts({ keyWidth: D }: DeltaNetMixer, { q, k, v }: SequenceInput) {
  const [queries, b] = split(q, 3, [D, 1]);
  const [keys, a] = split(k, 3, [D, 1]);
  return { channels: [queries, keys, v], b, a };
}

/** Rows of the rule. @param convolved [B,n,M,2D+E] @param order of their axes that is wanted: [B,n,M,X] or another */
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

/** Chunks are of the size that computes fastest, whatever the ring. */
export function deltaNetParallel(config: DeltaNetMixer, input: SequenceInput): Value {
  const { channels, ...gates } = parts(config, input);
  const convolved = convolvedSequences(concat(channels, 3), concat(filtersOf(config, input.parameters), 2));
  const grouping = groupingOf(input, defaultGroup);
  return ungroupQueries(grouping, deltaOfSequences(grouping, ruleRows(config, convolved, gates, input)));
}

/**
 * The ring of [k̂, v, g, β] and the channels under the filters, and S [M,D,E]. These rows have their heads side by side, all queries before
 * all keys before all values, as the projections give them and the runtime reads them; the ring holds them in M equal pieces.
 */
function stateOf({ group, keyWidth: D, valueWidth: E, kernel }: DeltaNetMixer): StateShape {
  const folded = { kind: 'sums', rows: D, columns: E } as const;
  return { slots: Math.max(group, kernel - 1), keyWidth: D + E + 2, valueWidth: 2 * D + E, folded };
}

function step(config: DeltaNetMixer, input: StepInput): MixerStepOutput {
  const { heads: M, keyWidth: D, valueWidth: E } = config;
  const { channels, ...gates } = parts(config, input);
  const [B, T] = input.q.shape;
  const inPieces = (rows: Value): Value => reshape(rows, [B, T, M, Number(rows.shape[2]) / M]);
  const raw = inPieces(concat(channels.map(sideBySide), 2));
  const filters = concat(filtersOf(config, input.parameters).map(sideBySide), 1);
  const byPiece = reshape(filters, [config.kernel, M, 2 * D + E]);
  const convolved = convolvedNodes(lastRows(input.ring.values, input.inputs), raw, byPiece, input.inputs);
  const [q, k, values] = split(sideBySide(silu(convolved)), 2, [M * D, M * D, M * E]);
  const keys = sideBySide(deltaNetLength(inPieces(k)));
  const own = replayedRows({ keys, values, ...deltaNetNumbers(config, gates, input.parameters) });
  const queries = sideBySide(deltaNetLength(inPieces(q), true));
  const { mixed, sums } = replayDelta(input, queries, own, replayedRowsOfRing(input));
  return { mixed: nodeRows(mixed), keys: nodeRows(inPieces(own)), values: nodeRows(raw), sums };
}

/** The ring of [k̂, g] and [u, the channels under the filters], and S [M,D,E]. */
function stateByProducts(config: DeltaNetMixer): StateShape {
  const { keyWidth: D, valueWidth: E } = config;
  return { ...stateOf(config), keyWidth: D + 1, valueWidth: 2 * (D + E) };
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

const headsOf = ({ heads }: DeltaNetMixer): number => heads;

/** The form by products of matrices. */
const byProducts: RecurrentForm<DeltaNetMixer> = {
  state: stateByProducts,
  step: stepByProducts,
  fold: {
    shareAs: () => 'delta net',
    reads: ({ valueWidth }) => ({ values: valueWidth }),
    fold: (_, input) => foldWritten(input),
  },
  inputs: lastRowsInputs('n', headsOf, gatedDeltaInputs),
  promptChunk: nodesSolved,
};

export const deltaNetRecurrent: RecurrentForm<DeltaNetMixer> = {
  state: stateOf,
  step,
  fold: {
    shareAs: () => 'delta net rows',
    reads: () => ({ values: 0 }),
    byLayer: true,
    fold: (_, { keys, sums }) => foldReplayed(sideBySide(nodeRows(keys)), sums),
  },
  inputs: lastRowsInputs('f', headsOf, replayInputs),
  sameBits: () => 'replayed rows',
  byProducts,
};
