/** Gated DeltaNet over sequences and over token trees: its rows, convolved, under the gated delta rule. */
import type { Value } from '../../../graph/graph.ts';
import { mul, sigmoid, silu } from '../../../graph/ops/elementwise.ts';
import { concat, slice, split } from '../../../graph/ops/layout.ts';
import { groupingOf, ungroupQueries } from '../../grouping.ts';
import type { MixerStepOutput, RecurrentForm, SequenceInput, StateShape, StepInput } from '../../mixer.ts';
import { defaultGroup } from '../../preset.ts';
import { nodeRows } from '../../step-blocks.ts';
import { deltaOfSequences, type DeltaRows } from '../gated-delta/parallel.ts';
import { foldReplayed, replayDelta, replayedRows, replayInputs } from '../gated-delta/replay.ts';
import { deltaOfNodes, foldWritten, gatedDeltaInputs, nodesSolved } from '../gated-delta/step.ts';
import { convolvedSequences } from '../short-conv/parallel.ts';
import { convolvedNodes, lastRows, lastRowsInputs } from '../short-conv/step.ts';
import { deltaNetDecays, deltaNetLength, deltaNetNumbers, type DeltaNetMixer, filtersOf, siluOf } from './config.ts';

/** The projections of a position, apart: the channels under the filters, and one number each of gate and decay. */
function parts({ keyWidth: D }: DeltaNetMixer, { q, k, v }: SequenceInput): Record<'raw' | 'b' | 'a', Value> {
  const [queries, b] = split(q, 3, [D, 1]);
  const [keys, a] = split(k, 3, [D, 1]);
  return { raw: concat([queries, keys, v], 3), b, a }; // raw [B,n,M,2D+E]
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
  const { raw, ...gates } = parts(config, input);
  const convolved = convolvedSequences(raw, filtersOf(config, input.parameters));
  const grouping = groupingOf(input, defaultGroup);
  return ungroupQueries(grouping, deltaOfSequences(grouping, ruleRows(config, convolved, gates, input)));
}

/** The ring of [k̂, v, g, β] and the channels under the filters, and S [M,D,E]. */
function stateOf({ group, keyWidth: D, valueWidth: E, kernel }: DeltaNetMixer): StateShape {
  const folded = { kind: 'sums', rows: D, columns: E } as const;
  return { slots: Math.max(group, kernel - 1), keyWidth: D + E + 2, valueWidth: 2 * D + E, folded };
}

function step(config: DeltaNetMixer, input: StepInput): MixerStepOutput {
  const { raw, ...gates } = parts(config, input);
  const held = lastRows(input.ring.values, input.inputs);
  const convolved = convolvedNodes(held, raw, filtersOf(config, input.parameters), input.inputs);
  const { keyWidth: D, valueWidth: E } = config;
  const [q, k, values] = split(silu(convolved), 3, [D, D, E]);
  const queries = deltaNetLength(q, true);
  const own = replayedRows({ keys: deltaNetLength(k), values, ...deltaNetNumbers(config, gates, input.parameters) });
  const { mixed, sums } = replayDelta(input, queries, own);
  return { mixed: nodeRows(mixed), keys: nodeRows(own), values: nodeRows(raw), sums };
}

/** The ring of [k̂, g] and [u, the channels under the filters], and S [M,D,E]. */
function stateByProducts(config: DeltaNetMixer): StateShape {
  const { keyWidth: D, valueWidth: E } = config;
  return { ...stateOf(config), keyWidth: D + 1, valueWidth: 2 * (D + E) };
}

function stepByProducts(config: DeltaNetMixer, input: StepInput): MixerStepOutput {
  const { valueWidth: E } = config;
  const { raw, ...gates } = parts(config, input);
  const ringWritten = slice(input.ring.values, 3, 0, E);
  const ringRaw = slice(lastRows(input.ring.values, input.inputs), 3, E);
  const convolved = convolvedNodes(ringRaw, raw, filtersOf(config, input.parameters), input.inputs);
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
    fold: (_, input) => foldReplayed(input),
  },
  inputs: lastRowsInputs('y', headsOf, replayInputs),
  sameBits: () => 'replayed rows',
  byProducts,
};
