/** A growing array of 32-bit integers. */
export class Int32Buffer {
  #storage = new Int32Array(1024);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  append(values: ArrayLike<number>): void {
    const needed = this.#length + values.length;
    if (needed > this.#storage.length) {
      const grown = new Int32Array(Math.max(needed, 2 * this.#storage.length));
      grown.set(this.#storage.subarray(0, this.#length));
      this.#storage = grown;
    }
    this.#storage.set(values, this.#length);
    this.#length = needed;
  }

  /** The values so far, a copy. */
  toArray(): Int32Array {
    return this.#storage.slice(0, this.#length);
  }
}
