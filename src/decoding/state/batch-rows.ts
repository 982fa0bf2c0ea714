/**
 * The states of many sequences side by side, as a step reads them: [B,M,C,D] of rows, [B,…] of sums. They are copied into
 * buffers that are kept from step to step, and of a sequence that was in the same place in the step before only what has
 * been committed since: of 16 sequences of a 1.1B model a row per layer and head, not 66 MiB.
 *
 * That is exact because of how states change: commits append positions, each in its slot, and replace sums as groups are
 * folded; nothing else is ever written to a state that a step has seen.
 */
import type { Horizon } from '../../attention/mixer.ts';
import { slotOf } from '../../models/model-layout.ts';
import type { SequenceState } from './sequence-state.ts';

/** What a buffer holds of a sequence: of which, and how old. */
interface Held {
  readonly state: WeakRef<SequenceState>;
  /** Committed positions, or folds, when it was copied. */
  readonly version: number;
}

interface Stack {
  readonly data: Float32Array;
  /** Numbers per sequence. */
  readonly size: number;
  readonly held: (Held | undefined)[];
}

/** Matrices of rows in slots, one per key-value head. */
export interface RowsOfSlots {
  /** M. */
  readonly heads: number;
  /** C of the step, the most of all its sequences. */
  readonly slots: number;
  readonly width: number;
  readonly horizon: Horizon;
  /** [M,own slots,width] */
  readonly of: (state: SequenceState) => Float32Array;
}

/** Buffers of an engine, by the name of the input. What they return is valid until the next step is prepared. */
export class BatchRows {
  readonly #stacks = new Map<string, Stack>();

  /** Rows [B,M,C,width]; of a single sequence its own array, where it has C slots. */
  rows(
    name: string,
    states: readonly SequenceState[],
    { heads, slots, width, horizon, of }: RowsOfSlots,
  ): Float32Array {
    const size = heads * slots * width;
    const [first] = states;
    if (states.length === 1 && of(first).length === size) return of(first);
    return this.#filled(
      name,
      states,
      size,
      ({ length }) => length,
      (state, target, before) => {
        const own = of(state);
        const ownSlots = own.length / (heads * width);
        const after = state.length;
        if (before === undefined || after - before > ownSlots - (horizon.sinks ?? 0)) {
          copyHeads(own, target, heads, ownSlots * width, slots * width);
          return;
        }
        for (let position = before; position < after; position++) {
          const slot = slotOf(position, ownSlots, horizon);
          for (let head = 0; head < heads; head++) {
            const source = (head * ownSlots + slot) * width;
            target.set(own.subarray(source, source + width), (head * slots + slot) * width);
          }
        }
      },
    );
  }

  /** S of the sequences [B,…]; of a single one its own. */
  sums(name: string, states: readonly SequenceState[], of: (state: SequenceState) => Float32Array): Float32Array {
    const [first] = states.map(of);
    if (states.length === 1) return first;
    return this.#filled(
      name,
      states,
      first.length,
      ({ folds }) => folds,
      (state, target, before) => {
        if (before !== state.folds) target.set(of(state));
      },
    );
  }

  /** @param fill brings a part up to date; `before` is the version that it has of the same state, if it has one */
  #filled(
    name: string,
    states: readonly SequenceState[],
    size: number,
    version: (state: SequenceState) => number,
    fill: (state: SequenceState, target: Float32Array, before: number | undefined) => void,
  ): Float32Array {
    const { data, held } = this.#stack(name, states.length, size);
    states.forEach((state, b) => {
      const known = held[b];
      const before = known?.state.deref() === state ? known.version : undefined;
      fill(state, data.subarray(b * size, (b + 1) * size), before);
      held[b] = {
        state: known !== undefined && before !== undefined ? known.state : new WeakRef(state),
        version: version(state),
      };
    });
    return data.subarray(0, states.length * size);
  }

  #stack(name: string, count: number, size: number): Stack {
    const known = this.#stacks.get(name);
    if (known?.size === size && known.data.length >= count * size) return known;
    // Room for a power of two, since sequences come one after the other.
    const made: Stack = { data: new Float32Array(2 ** Math.ceil(Math.log2(count)) * size), size, held: [] };
    this.#stacks.set(name, made);
    return made;
  }
}

/** Matrices of `ownSize` numbers to places `size` apart, zeros behind each. */
function copyHeads(own: Float32Array, target: Float32Array, heads: number, ownSize: number, size: number): void {
  if (ownSize === size) {
    target.set(own);
    return;
  }
  target.fill(0);
  for (let head = 0; head < heads; head++) {
    target.set(own.subarray(head * ownSize, (head + 1) * ownSize), head * size);
  }
}
