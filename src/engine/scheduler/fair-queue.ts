/** Requests that wait: each key has a line of its own, so that a key with many requests holds up nobody else. */

interface Entry<T> {
  readonly item: T;
  readonly priority: number;
}

export class FairQueue<T> {
  /** Lines by key, in the order in which the keys came; in a line lower priorities first, older ones among equals. */
  readonly #lines = new Map<string, Entry<T>[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** @param priority orders the queue of its key alone: urgent requests of one key take nothing from other keys */
  push(key: string, item: T, priority = 0): void {
    const line = this.#lines.get(key);
    const entry = { item, priority };
    if (line === undefined) this.#lines.set(key, [entry]);
    else line.splice(line.findLastIndex((other) => other.priority <= priority) + 1, 0, entry);
    this.#size++;
  }

  /** Puts back what had been taken out: first in the line of its key. */
  pushBack(key: string, item: T): void {
    const entry = { item, priority: Number.NEGATIVE_INFINITY };
    this.#lines.set(key, [entry, ...(this.#lines.get(key) ?? [])]);
    this.#size++;
  }

  /**
   * The request that comes next: the first in the line of the key that has the least, the key that has waited longest among
   * equals.
   * @param held share that a key has already
   */
  peek(held: (key: string) => number): T | undefined {
    let best: { line: readonly Entry<T>[]; held: number } | undefined;
    for (const [key, line] of this.#lines) {
      const own = held(key);
      if (best === undefined || own < best.held) best = { line, held: own };
    }
    return best?.line[0]?.item;
  }

  /** Takes a request out, wherever it is. Its key goes behind the others. */
  remove(key: string, item: T): boolean {
    const line = this.#lines.get(key);
    const index = line?.findIndex((entry) => entry.item === item) ?? -1;
    if (line === undefined || index < 0) return false;
    line.splice(index, 1);
    this.#size--;
    this.#lines.delete(key);
    if (line.length > 0) this.#lines.set(key, line);
    return true;
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (const line of this.#lines.values()) for (const { item } of line) yield item;
  }
}
