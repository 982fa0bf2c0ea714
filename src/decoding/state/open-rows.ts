/** The open rows of states: the last rows of their rings, by position, which a step reads together with the tree's. */
import { emptySlot, type OpenPositions, windowStart } from '../../attention/masks.ts';
import { openBlock, slotOf, type SlotLayout } from '../../models/graphs/model-layout.ts';
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

/** U is a multiple of this: the runtime plans its memory anew for every shape. */
const countStep = 16;

/** The open rows of a layout; undefined where it has none. */
export function openRowsOf(states: readonly SequenceState[], layout: SlotLayout): OpenOfStates | undefined {
  const { open, horizon, ring } = layout;
  if (open === undefined) return undefined;
  const { sinks = 0, reach } = horizon;
  const ranges = states.map((state) => {
    const { length } = state;
    const held = state.positions(layout).length;
    // Of a whole ring, the rows that some node may see: the rest weighs nothing.
    const from =
      open === 'whole' ? Math.min(windowStart(length, horizon), length - reach) : length - (length % openBlock);
    // In a ring, the sinks and the rows that are not overwritten.
    const first = Math.max(0, from, ring === undefined ? 0 : length - (held - sinks));
    const sunk = Math.max(0, Math.min(sinks, first) - from);
    return { from, sunk, first, held, length };
  });
  const most = Math.max(...ranges.map(({ sunk, first, length }) => sunk + length - first));
  const count = Math.ceil(most / countStep) * countStep;
  const ofStates = ranges.map(({ from, sunk, first, held, length }): OpenOfState => {
    const positions = new Int32Array(count).fill(emptySlot);
    const slots = new Int32Array(count);
    const n = sunk + length - first;
    for (let i = 0; i < n; i++) {
      positions[i] = i < sunk ? from + i : first + i - sunk;
      slots[i] = slotOf(positions[i], held, horizon);
    }
    return { from, positions, slots };
  });
  return { count, ofStates };
}
