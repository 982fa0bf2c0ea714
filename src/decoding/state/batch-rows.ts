/**
 * Many sequences' states side by side, as a step reads them: rows [B,M,C,D], sums [B,…], and which of their last rows it
 * reads together with the tree's (the open rows). Rows and sums are copied into buffers that persist from step to step; for
 * a sequence that keeps its place, only what has been committed since: for 16 sequences of a 1.1B model a row per layer and
 * head, not 66 MiB.
 *
 * This is exact because commits only append positions, each in its slot, and replace sums as groups are folded; nothing
 * else is ever written to a state that a step has seen.
 */
import { emptySlot, foldStart, openBlock, type OpenPositions, slotOf } from '../../attention/masks.ts';
import type { Horizon } from '../../attention/mixer.ts';
import { leastColumns, type RowSlice, type SlotLayout } from '../../models/graphs/model-layout.ts';
import { KeptMemory } from '../../runtime/kept-memory.ts';
import { copyMatrices } from './matrices.ts';
import type { SequenceState } from './sequence-state.ts';

/** The state whose numbers a buffer holds, and their version. */
interface Held {
  readonly state: WeakRef<SequenceState>;
  /** Committed positions, or folds, when copied. */
  readonly version: number;
}

interface Stack {
  readonly memory: KeptMemory;
  /** Numbers per sequence. */
  readonly size: number;
  readonly held: (Held | undefined)[];
}

/** A layer's rows in slots, one matrix per key-value head. */
export interface RowsOfSlots {
  /** The input's name. */
  readonly name: string;
  readonly layer: number;
  readonly part: 'keys' | 'values';
  /** M times a row's parts. */
  readonly heads: number;
  /** A part's width. */
  readonly width: number;
  readonly horizon: Horizon;
}

/** The matrices that hold a slice of the heads' rows. */
export function matricesOf(heads: number, { width, parts }: RowSlice): Pick<RowsOfSlots, 'heads' | 'width'> {
  return { heads: heads * parts, width: width / parts };
}

/** All states' numbers in a step. */
export interface BatchNumbers {
  /** Valid until the next step is prepared. */
  readonly data: Float32Array;
  /** Where they persist from step to step; undefined for a state's own memory. */
  readonly memory?: KeptMemory;
}

/** Buffers for an engine's steps, by input name. */
export class BatchRows {
  readonly #lane: string;
  readonly #stacks = new Map<string, Stack>();
  #order: readonly WeakRef<SequenceState>[] = [];

  /** @param lane separates the buffers and the order of steps that alternate with others */
  constructor(lane: string) {
    this.#lane = lane;
  }

  /**
   * The best order of states in a step: each keeps its previous place, so that little is copied. The last state takes a
   * departed text's place.
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
   * Sequences' rows [B,M,C,width]; each has [M,own slots,width].
   * @param slots the step's C, the most among its sequences
   * @param ownToo whether to copy even a single state into a persistent buffer instead of reading it in place
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

  /** A layer's S [B,…], if it has sums. @param ownToo see `rows` */
  sums(name: string, states: readonly SequenceState[], layer: number, ownToo = false): BatchNumbers {
    const first = states[0].sums(layer);
    if (!ownToo && states.length === 1) return { data: first };
    return this.#filled(
      name,
      states,
      first.length,
      ({ folds }) => folds,
      (b, memory, offset, before) => {
        if (before === states[b].folds) return;
        memory.data.set(states[b].sums(layer), offset);
        memory.wrote(offset, offset + first.length);
      },
    );
  }

  /** @param fill updates the b-th state's part; `before` is the version held of the same state, if any */
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
    // Room for a power of two, since sequences arrive one by one.
    const made: Stack = {
      memory: new KeptMemory(`${name} ${this.#lane}`, 2 ** Math.ceil(Math.log2(count)) * size),
      size,
      held: [],
    };
    this.#stacks.set(name, made);
    return made;
  }
}

/** A state's open rows. */
interface OpenOfState extends OpenPositions {
  readonly positions: Int32Array;
  /** Slot of every open row [U]; beyond them any slot. */
  readonly slots: Int32Array;
}

/** The open rows of a step's states, padded to the same number. */
export interface OpenOfStates {
  /** U. */
  readonly count: number;
  readonly ofStates: readonly OpenOfState[];
}

/** U is a multiple of this and not 0: the runtime plans its memory anew for every shape, and sums a single row in another order. */
const countStep = 16;

/** A layout's open rows; undefined if it has none. @param T the step's nodes */
export function openRowsOf(states: readonly SequenceState[], layout: SlotLayout, T: number): OpenOfStates | undefined {
  const { open, horizon, ring, isWide } = layout;
  if (open === undefined) return undefined;
  const { sinks = 0, reach } = horizon;
  const ranges = [];
  let most = isWide ? leastColumns - T : 0;
  for (const state of states) {
    const { length } = state;
    const held = state.positions[layout.index].length;
    // For a fully open ring, the rows that some node may see: the rest weighs nothing.
    const from =
      open === 'whole' ? Math.min(foldStart(length, horizon), length - reach) : length - (length % openBlock);
    // In a ring, the sinks and the rows not overwritten.
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
