/**
 * The states of many sequences side by side, as a step reads them: [B,M,C,D] of rows, [B,…] of sums, and which of their last
 * rows it reads together with the tree's (the open rows). Rows and sums are copied into
 * buffers that are kept from step to step, and of a sequence that was in the same place in the step before only what has
 * been committed since: of 16 sequences of a 1.1B model a row per layer and head, not 66 MiB.
 *
 * That is exact because of how states change: commits append positions, each in its slot, and replace sums as groups are
 * folded; nothing else is ever written to a state that a step has seen.
 */
import { emptySlot, foldStart, openBlock, type OpenPositions, slotOf } from '../../attention/masks.ts';
import type { Horizon } from '../../attention/mixer.ts';
import { leastColumns, type RowSlice, type SlotLayout } from '../../models/graphs/model-layout.ts';
import { KeptMemory } from '../../runtime/kept-memory.ts';
import { copyMatrices } from './matrices.ts';
import type { SequenceState } from './sequence-state.ts';

/** The state whose numbers a buffer holds, and its version. */
interface Held {
  readonly state: WeakRef<SequenceState>;
  /** Committed positions, or folds, when it was copied. */
  readonly version: number;
}

interface Stack {
  readonly memory: KeptMemory;
  /** Numbers per sequence. */
  readonly size: number;
  readonly held: (Held | undefined)[];
}

/** Rows of a layer in slots, one matrix per key-value head. */
export interface RowsOfSlots {
  /** Of the input. */
  readonly name: string;
  readonly layer: number;
  readonly part: 'keys' | 'values';
  /** M times the parts of a row. */
  readonly heads: number;
  /** Of a part. */
  readonly width: number;
  readonly horizon: Horizon;
}

/** The matrices that hold a slice of the rows of heads. */
export function matricesOf(heads: number, { width, parts }: RowSlice): Pick<RowsOfSlots, 'heads' | 'width'> {
  return { heads: heads * parts, width: width / parts };
}

/** Numbers of all states of a step. */
export interface BatchNumbers {
  /** Valid until the next step is prepared. */
  readonly data: Float32Array;
  /** Where they are kept from step to step; undefined for a state's own. */
  readonly memory?: KeptMemory;
}

/** Buffers of the steps of an engine, by the name of the input. */
export class BatchRows {
  readonly #lane: string;
  readonly #stacks = new Map<string, Stack>();
  #order: readonly WeakRef<SequenceState>[] = [];

  /** @param lane steps that take turns with others have buffers, and an order, of their own */
  constructor(lane: string) {
    this.#lane = lane;
  }

  /**
   * The order in which a step best takes states: each where it was in the step before, so that little is copied. Of a
   * text that has left, the last takes the place.
   *
   * @returns for each place the index of its state
   */
  arrange(states: readonly SequenceState[]): readonly number[] {
    const before = this.#order.map((held) => held.deref());
    const order: (number | undefined)[] = states.map(() => undefined);
    const left: number[] = [];
    states.forEach((state, index) => {
      const place = before.indexOf(state);
      if (place >= 0 && place < order.length && order[place] === undefined) order[place] = index;
      else left.push(index);
    });
    const arranged = order.map((index) => index ?? left.shift() ?? 0);
    this.#order = arranged.map((index) => new WeakRef(states[index]));
    return arranged;
  }

  /**
   * Rows [B,M,C,width] of sequences, of which each has [M,own slots,width].
   * @param slots C of the step, the most of all its sequences
   * @param ownToo whether a single state is copied into a kept buffer too, instead of read in place
   */
  rows(
    { name, layer, part, heads, width, horizon }: RowsOfSlots,
    states: readonly SequenceState[],
    slots: number,
    ownToo = false,
  ): BatchNumbers {
    const size = heads * slots * width;
    const data = states[0].layers[layer][part];
    if (!ownToo && states.length === 1 && data.length === size) return { data };
    return this.#filled(
      name,
      states,
      size,
      ({ length }) => length,
      (b, memory, offset, before) => {
        const state = states[b];
        const numbers = state.layers[layer][part];
        const ownSlots = numbers.length / (heads * width);
        const after = state.length;
        if (before === undefined || after - before > ownSlots - (horizon.sinks ?? 0)) {
          const target = memory.data.subarray(offset, offset + size);
          if (numbers.length !== size) target.fill(0);
          copyMatrices(numbers, target, heads);
          memory.wrote(offset, offset + size);
          return;
        }
        for (let head = 0; head < heads; head++) {
          for (let position = before; position < after; position++) {
            const slot = slotOf(position, ownSlots, horizon);
            const source = (head * ownSlots + slot) * width;
            const target = offset + (head * slots + slot) * width;
            memory.data.set(numbers.subarray(source, source + width), target);
            memory.wrote(target, target + width);
          }
        }
      },
    );
  }

  /** S of a layer [B,…], which has sums. @param ownToo as of `rows` */
  sums(name: string, states: readonly SequenceState[], layer: number, ownToo = false): BatchNumbers {
    const first = states[0].layerSums[layer] ?? new Float32Array(0);
    if (!ownToo && states.length === 1) return { data: first };
    return this.#filled(
      name,
      states,
      first.length,
      ({ folds }) => folds,
      (b, memory, offset, before) => {
        if (before === states[b].folds) return;
        memory.data.set(states[b].layerSums[layer] ?? [], offset);
        memory.wrote(offset, offset + first.length);
      },
    );
  }

  /** @param fill brings the part of the b-th state up to date; `before` is the version that it has of the same state, if it has one */
  #filled(
    name: string,
    states: readonly SequenceState[],
    size: number,
    version: (state: SequenceState) => number,
    fill: (b: number, memory: KeptMemory, offset: number, before: number | undefined) => void,
  ): BatchNumbers {
    const { memory, held } = this.#stack(name, states.length, size);
    states.forEach((state, b) => {
      const known = held[b];
      const before = known?.state.deref() === state ? known.version : undefined;
      fill(b, memory, b * size, before);
      held[b] = {
        state: known !== undefined && before !== undefined ? known.state : new WeakRef(state),
        version: version(state),
      };
    });
    return { data: memory.data.subarray(0, states.length * size), memory };
  }

  #stack(name: string, count: number, size: number): Stack {
    const known = this.#stacks.get(name);
    if (known?.size === size && known.memory.data.length >= count * size) return known;
    // Room for a power of two, since sequences come one after the other.
    const made: Stack = {
      memory: new KeptMemory(`${name} ${this.#lane}`, 2 ** Math.ceil(Math.log2(count)) * size),
      size,
      held: [],
    };
    this.#stacks.set(name, made);
    return made;
  }
}

/** The open rows of a state. */
interface OpenOfState extends OpenPositions {
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
