/** The gated delta rule position by position (arXiv 2412.06464, section 3), in float64. */
import { addScaled, type ReferencePositions, unit } from '../../reference.ts';
import { referenceLogDecays } from '../gated/decay.ts';
import { gainName } from '../gated/config.ts';
import { type GatedDeltaMixer, referenceWriteGate } from './config.ts';
import { normalizedRow } from '../features/output.ts';

/**
 * From the previous position's S [D,E]:
 *
 *     S ← e^(g_t)·S
 *     u_t = β_t·(v_t − Sᵀk̂_t)
 *     S ← S + k̂_t·u_tᵀ
 *     o_t = a·Sᵀq̂_t
 *
 * where a is the query head's gain.
 * @returns [H,n,E]
 */
export function gatedDeltaReference({ decay, output }: GatedDeltaMixer, positions: ReferencePositions): Float64Array {
  const decays = Array.from({ length: positions.input.dims.keyValueHeads }, (_, kvHead) =>
    referenceLogDecays(decay, positions, kvHead),
  );
  const readAt = deltaReference(positions, {
    query: (head, t) => unit(positions.query(head, t)),
    key: (kvHead, t) => unit(positions.key(kvHead, t)),
    value: (kvHead, t) => positions.value(kvHead, t),
    logDecay: (kvHead, t) => decays[kvHead][t],
    gate: (kvHead, t) => referenceWriteGate(positions, kvHead, t),
  });
  return positions.mapRows((head, t) => {
    const read = readAt(head, t);
    const gain = positions.parameter(gainName)[head];
    const mixed = normalizedRow(output, read, 1).map((x) => gain * x);
    positions.addConvolution(head, t, mixed);
    return mixed;
  });
}

/** The rows that the rule multiplies, and g and β, in float64, by head and position. */
export interface DeltaReferenceRows {
  query(head: number, t: number): Float64Array;
  key(kvHead: number, t: number): Float64Array;
  value(kvHead: number, t: number): Float64Array;
  logDecay(kvHead: number, t: number): number;
  gate(kvHead: number, t: number): number;
}

/** Sᵀq of a query head at a position. */
export function deltaReference(
  positions: ReferencePositions,
  rows: DeltaReferenceRows,
): (head: number, t: number) => Float64Array {
  const states = Array.from({ length: positions.input.dims.keyValueHeads }, (_, kvHead) =>
    statesOf(positions, rows, kvHead),
  );
  return (head, t) => readState(states[positions.keyValueHead(head)][t], rows.query(head, t), positions);
}

/** S [D,E] after every position. */
function statesOf(positions: ReferencePositions, rows: DeltaReferenceRows, kvHead: number): Float64Array[] {
  const { valueWidth: E, length } = positions;
  const states: Float64Array[] = [];
  for (let t = 0; t < length; t++) {
    const lineage = positions.lineage(t);
    const key = rows.key(kvHead, t);
    const before = lineage.length > 1 ? states[lineage[1]] : new Float64Array(key.length * E);
    const state = before.map((x) => Math.exp(rows.logDecay(kvHead, t)) * x);
    const held = readState(state, key, positions);
    const gate = rows.gate(kvHead, t);
    const written = rows.value(kvHead, t).map((x, i) => gate * (x - held[i]));
    key.forEach((x, d) => {
      addScaled(state.subarray(d * E, (d + 1) * E), x, written);
    });
    states.push(state);
  }
  return states;
}

/** Sᵀx. */
function readState(state: Float64Array, x: Float64Array, { valueWidth: E }: ReferencePositions): Float64Array {
  const read = new Float64Array(E);
  x.forEach((factor, d) => {
    addScaled(read, factor, state.subarray(d * E, (d + 1) * E));
  });
  return read;
}
