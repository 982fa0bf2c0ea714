/** Requests that wait: each key has a line of its own, so that a key with many requests holds up nobody else. */

export class FairQueue<T> {
  /** Lines by key, in the order in which the keys came. */
  readonly #lines = new Map<string, T[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(key: string, item: T): void {
    const line = this.#lines.get(key);
    if (line === undefined) this.#lines.set(key, [item]);
    else line.push(item);
    this.#size++;
  }

  /**
   * The request that comes next: the oldest of the key that has the least, the key that has waited longest among equals.
   * @param held what a key has already
   */
  peek(held: (key: string) => number): T | undefined {
    let best: { items: readonly T[]; held: number } | undefined;
    for (const [key, items] of this.#lines) {
      const own = held(key);
      if (best === undefined || own < best.held) best = { items, held: own };
    }
    return best?.items[0];
  }

  /** Takes a request out, wherever it is. Its key goes behind the others. */
  remove(key: string, item: T): boolean {
    const line = this.#lines.get(key);
    const index = line?.indexOf(item) ?? -1;
    if (line === undefined || index < 0) return false;
    line.splice(index, 1);
    this.#size--;
    this.#lines.delete(key);
    if (line.length > 0) this.#lines.set(key, line);
    return true;
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (const line of this.#lines.values()) yield* line;
  }
}
