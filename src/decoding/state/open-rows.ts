/** The open rows of states: the last rows of their rings, by position, which a step reads together with the tree's. */
import { emptySlot, openBlock, type OpenPositions, slotOf, foldStart } from '../../attention/masks.ts';
import { leastColumns, type SlotLayout } from '../../models/graphs/model-layout.ts';
import type { SequenceState } from './sequence-state.ts';

/** The open rows of a state. */
export interface OpenOfState extends OpenPositions {
  readonly positions: Int32Array;
  /** Slot of every open row [U]; behind them any. */
  readonly slots: Int32Array;
}

/** The open rows of the states of a step, padded to the same number. */
export interface OpenOfStates {
  /** U. */
  readonly count: number;
  readonly ofStates: readonly OpenOfState[];
}

/** U is a multiple of this, and not 0: the runtime plans its memory anew for every shape, and adds up a row by itself otherwise. */
const countStep = 16;

/** The open rows of a layout; undefined where it has none. @param T nodes of the step */
export function openRowsOf(states: readonly SequenceState[], layout: SlotLayout, T: number): OpenOfStates | undefined {
  const { open, horizon, ring, isWide } = layout;
  if (open === undefined) return undefined;
  const { sinks = 0, reach } = horizon;
  const ranges = [];
  let most = isWide ? leastColumns - T : 0;
  for (const state of states) {
    const { length } = state;
    const held = state.positions[layout.index].length;
    // Of a whole ring, the rows that some node may see: the rest weighs nothing.
    const from =
      open === 'whole' ? Math.min(foldStart(length, horizon), length - reach) : length - (length % openBlock);
    // In a ring, the sinks and the rows that are not overwritten.
    const first = Math.max(0, from, ring === undefined ? 0 : length - (held - sinks));
    const sunk = Math.max(0, Math.min(sinks, first) - from);
    const n = sunk + length - first;
    ranges.push({ from, sunk, first, held, n });
    most = Math.max(most, n);
  }
  const count = Math.max(1, Math.ceil(most / countStep)) * countStep;
  const ofStates: OpenOfState[] = [];
  for (const { from, sunk, first, held, n } of ranges) {
    const positions = new Int32Array(count).fill(emptySlot);
    const slots = new Int32Array(count);
    for (let i = 0; i < n; i++) {
      positions[i] = i < sunk ? from + i : first + i - sunk;
      slots[i] = slotOf(positions[i], held, horizon);
    }
    ofStates.push({ from, positions, slots });
  }
  return { count, ofStates };
}
