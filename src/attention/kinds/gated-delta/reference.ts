/** The gated delta rule position by position (arXiv 2412.06464, section 3), in float64. */
import { addScaled, type ReferencePositions, unit } from '../../reference.ts';
import { referenceLogDecays } from '../gated/decay.ts';
import { gainName } from '../gated/config.ts';
import { type GatedDeltaMixer, referenceWriteGate } from './config.ts';
import { normalizedRow } from '../features/output.ts';

/**
 * With S [D,E] from the position before:
 *
 *     S ← e^(g_t)·S
 *     u_t = β_t·(v_t − Sᵀk̂_t)
 *     S ← S + k̂_t·u_tᵀ
 *     o_t = a·Sᵀq̂_t
 *
 * with a the gain of the query head.
 * @returns [H,n,E]
 */
export function gatedDeltaReference({ decay, output }: GatedDeltaMixer, positions: ReferencePositions): Float64Array {
  const states = Array.from({ length: positions.input.dims.keyValueHeads }, (_, kvHead) =>
    statesOf(referenceLogDecays(decay, positions, kvHead), positions, kvHead),
  );
  return positions.mapRows((head, t) => {
    const read = readState(states[positions.keyValueHead(head)][t], unit(positions.query(head, t)), positions);
    const gain = positions.parameter(gainName)[head];
    const mixed = normalizedRow(output, read, 1).map((x) => gain * x);
    positions.addConvolution(head, t, mixed);
    return mixed;
  });
}

/** S [D,E] after every position. */
function statesOf(decays: Float64Array, positions: ReferencePositions, kvHead: number): Float64Array[] {
  const { headWidth: D, valueWidth: E, length } = positions;
  const states: Float64Array[] = [];
  for (let t = 0; t < length; t++) {
    const lineage = positions.lineage(t);
    const before = lineage.length > 1 ? states[lineage[1]] : new Float64Array(D * E);
    const state = before.map((x) => Math.exp(decays[t]) * x);
    const key = unit(positions.key(kvHead, t));
    const held = readState(state, key, positions);
    const gate = referenceWriteGate(positions, kvHead, t);
    const written = positions.value(kvHead, t).map((x, i) => gate * (x - held[i]));
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
