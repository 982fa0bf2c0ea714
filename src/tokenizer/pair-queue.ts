/** A priority queue of token pairs: the highest count first, of equal counts the smallest pair. */
import TinyQueue from 'tinyqueue';

/** One entry. `pair` is the pair packed into a number that orders pairs by left token, then by right token. */
export interface PairCount {
  readonly count: number;
  readonly pair: number;
}

/** Entries are immutable and may be stale: the caller compares a popped entry with the current count of its pair. */
export class PairQueue extends TinyQueue<PairCount> {
  constructor() {
    super([], (a, b) => b.count - a.count || a.pair - b.pair);
  }
}
