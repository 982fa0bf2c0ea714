/**
 * Memory of feeds that stays from run to run and changes in places. A program in this thread reads it where it is; one in a
 * worker keeps a copy there and is sent only the writes since, of 16 states of a 1.1B model a megabyte instead of 66.
 */

/** Numbers that are read by one run after another. The writer of `data` reports every write by `wrote`. */
export class KeptMemory {
  /** Tells it apart from other memory that the same program reads; memory that takes its place has its name. */
  readonly name: string;
  /** Zeros at first. */
  readonly data: Float32Array;
  /** Start and end of each write, the oldest first, as far as they are remembered. */
  #writes: number[] = [];
  /** Writes that are not remembered any more. */
  #forgotten = 0;
  /** Numbers written by those that are. */
  #remembered = 0;

  constructor(name: string, length: number) {
    this.name = name;
    this.data = new Float32Array(length);
  }

  /** Number of writes so far: an up-to-date reader passes it to `since` the next time. */
  get revision(): number {
    return this.#forgotten + this.#writes.length / 2;
  }

  /** Numbers from `start` to before `end` were written. */
  wrote(start: number, end: number): void {
    this.#remembered += end - start;
    this.#writes.push(start, end);
    if (this.#remembered <= this.data.length) return;
    // Beyond the size of it all, the whole is less than the list. The younger half stays, for readers that keep up.
    let dropped = 0;
    while (dropped < this.#writes.length && this.#remembered > this.data.length / 2) {
      this.#remembered -= this.#writes[dropped + 1] - this.#writes[dropped];
      dropped += 2;
    }
    this.#writes = this.#writes.slice(dropped);
    this.#forgotten += dropped / 2;
  }

  /** Start and end of each write since a revision; the whole memory where they are forgotten. Pieces may overlap. */
  since(revision: number): Int32Array {
    if (revision < this.#forgotten) return Int32Array.of(0, this.data.length);
    return Int32Array.from(this.#writes.slice(2 * (revision - this.#forgotten)));
  }
}

/** Feeds whose memory stays, by the names of inputs. The tensor of each is the beginning of its memory. */
export type KeptFeeds = ReadonlyMap<string, KeptMemory>;

/** Update of a copy of kept memory. Plain data. */
export interface KeptUpdate {
  readonly name: string;
  /** Of all the memory. */
  readonly length: number;
  /** Whether the copy begins anew, with zeros. */
  readonly fresh: boolean;
  /** Start and end of each piece. */
  readonly pieces: Int32Array;
  /** The pieces, one after the other. */
  readonly numbers: Float32Array;
}

/** Revisions of kept memory that one remote reader has. */
export class KeptSender {
  readonly #seen = new Map<string, { readonly memory: KeptMemory; revision: number }>();

  /** The update that the reader lacks; from then on it counts as sent. */
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

/** The copies that a reader has. */
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
