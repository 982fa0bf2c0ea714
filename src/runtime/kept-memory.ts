/**
 * Feeds' memory that persists from run to run and changes in places. A program in this thread reads it in place; a worker keeps
 * a copy and receives only the writes since: for 16 states of a 1.1B model one megabyte instead of 66.
 */

/** Numbers that run after run reads. The writer of `data` reports every write through `wrote`. */
export class KeptMemory {
  /** Identifies it among a program's memories; memory that replaces it takes its name. */
  readonly name: string;
  /** Zeros at first. */
  readonly data: Float32Array;
  /** Start and end of each remembered write, oldest first. */
  #writes: number[] = [];
  /** Number of forgotten writes. */
  #forgotten = 0;
  /** Numbers in remembered writes. */
  #remembered = 0;

  constructor(name: string, length: number) {
    this.name = name;
    this.data = new Float32Array(length);
  }

  /** Number of writes so far: an up-to-date reader passes it to `since` next time. */
  get revision(): number {
    return this.#forgotten + this.#writes.length / 2;
  }

  /** Reports that numbers from `start` to before `end` were written. */
  wrote(start: number, end: number): void {
    this.#remembered += end - start;
    this.#writes.push(start, end);
    if (this.#remembered <= this.data.length) return;
    // Once the writes exceed the whole, sending the whole costs less than the list. The younger half stays, for readers that
    // keep up.
    let dropped = 0;
    while (dropped < this.#writes.length && this.#remembered > this.data.length / 2) {
      this.#remembered -= this.#writes[dropped + 1] - this.#writes[dropped];
      dropped += 2;
    }
    this.#writes = this.#writes.slice(dropped);
    this.#forgotten += dropped / 2;
  }

  /** Start and end of each write since a revision; the whole memory if they are forgotten. Pieces may overlap. */
  since(revision: number): Int32Array {
    if (revision < this.#forgotten) return Int32Array.of(0, this.data.length);
    return Int32Array.from(this.#writes.slice(2 * (revision - this.#forgotten)));
  }
}

/** Feeds whose memory persists, by input name. Each tensor is the beginning of its memory. */
export type KeptFeeds = ReadonlyMap<string, KeptMemory>;

/** An update for a copy of kept memory. Plain data. */
export interface KeptUpdate {
  readonly name: string;
  /** Length of the whole memory. */
  readonly length: number;
  /** Whether the copy starts over, with zeros. */
  readonly fresh: boolean;
  /** Start and end of each piece. */
  readonly pieces: Int32Array;
  /** The pieces' numbers, one after the other. */
  readonly numbers: Float32Array;
}

/** The revisions of kept memory that a remote reader has. */
export class KeptSender {
  readonly #seen = new Map<string, { readonly memory: KeptMemory; revision: number }>();

  /** The update that the reader lacks, which then counts as sent. */
  update(memory: KeptMemory): KeptUpdate {
    const { name, data, revision } = memory;
    const known = this.#seen.get(name);
    const fresh = known?.memory !== memory;
    const pieces = memory.since(fresh ? 0 : known.revision);
    let count = 0;
    for (let i = 0; i < pieces.length; i += 2) count += pieces[i + 1] - pieces[i];
    const numbers = new Float32Array(count);
    for (let i = 0, filled = 0; i < pieces.length; filled += pieces[i + 1] - pieces[i], i += 2) {
      numbers.set(data.subarray(pieces[i], pieces[i + 1]), filled);
    }
    this.#seen.set(name, { memory, revision });
    return { name, length: data.length, fresh, pieces, numbers };
  }
}

/** A reader's copies. */
export class KeptCopies {
  readonly #copies = new Map<string, Float32Array>();

  /** Applies an update, and returns the copy. */
  take({ name, length, fresh, pieces, numbers }: KeptUpdate): Float32Array {
    const known = fresh ? undefined : this.#copies.get(name);
    const copy = known ?? new Float32Array(length);
    if (known === undefined) this.#copies.set(name, copy);
    for (let i = 0, taken = 0; i < pieces.length; i += 2) {
      const size = pieces[i + 1] - pieces[i];
      copy.set(numbers.subarray(taken, taken + size), pieces[i]);
      taken += size;
    }
    return copy;
  }
}
