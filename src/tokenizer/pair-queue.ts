/** A priority queue of token pairs: the highest count first, of equal counts the smallest pair. */

/** One entry. `pair` is the pair packed into a number that orders pairs by left token, then by right token. */
export interface PairCount {
  readonly count: number;
  readonly pair: number;
}

/** A binary heap. Entries are never changed inside it; who pops one compares it with the count of the day. */
export class PairQueue {
  readonly #heap: PairCount[] = [];

  get size(): number {
    return this.#heap.length;
  }

  push(entry: PairCount): void {
    const heap = this.#heap;
    let hole = heap.length;
    heap.push(entry);
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if (!precedes(entry, heap[parent])) break;
      heap[hole] = heap[parent];
      hole = parent;
    }
    heap[hole] = entry;
  }

  pop(): PairCount | undefined {
    const heap = this.#heap;
    const top = heap.at(0);
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return top;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && precedes(heap[child + 1], heap[child])) child++;
      if (!precedes(heap[child], last)) break;
      heap[hole] = heap[child];
      hole = child;
    }
    heap[hole] = last;
    return top;
  }
}

function precedes(a: PairCount, b: PairCount): boolean {
  return a.count > b.count || (a.count === b.count && a.pair < b.pair);
}
