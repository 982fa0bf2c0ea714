/** Events from the scheduler to one reader, with a bound: what a slow reader has not taken stops its text, not memory. */

/** An unbounded-looking queue whose owner watches `full`: pushing never waits, whoever pushes is to stop when it is full. */
export class EventQueue<T> implements AsyncIterable<T> {
  readonly #limit: number;
  readonly #weigh: (event: T) => number;
  readonly #onRoom: () => void;
  readonly #events: T[] = [];
  #weight = 0;
  #ended = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #fullSince: number | undefined;

  /**
   * @param limit weight from which the queue is full
   * @param weigh bytes that an event stands for
   * @param onRoom called when a full queue has room again
   */
  constructor(limit: number, weigh: (event: T) => number, onRoom: () => void) {
    this.#limit = limit;
    this.#weigh = weigh;
    this.#onRoom = onRoom;
  }

  /** Whether nothing more should be pushed for now. */
  get full(): boolean {
    return this.#weight >= this.#limit;
  }

  /** Milliseconds that the queue has been full; 0 while it is not. */
  get fullFor(): number {
    return this.#fullSince === undefined ? 0 : performance.now() - this.#fullSince;
  }

  push(event: T): void {
    if (this.#ended) return;
    this.#events.push(event);
    this.#weight += this.#weigh(event);
    if (this.full) this.#fullSince ??= performance.now();
    this.#wake?.();
  }

  /** No more events; the reader gets those that wait, then the end, or the failure. */
  end(failure?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    if (failure !== undefined)
      this.#failure = failure instanceof Error ? failure : new Error('the request failed', { cause: failure });
    this.#wake?.();
  }

  /** The next event; undefined after the last. One reader only. @throws what the queue was ended with */
  async next(): Promise<T | undefined> {
    for (;;) {
      const event = this.#events.shift();
      if (event !== undefined) {
        const wasFull = this.full;
        this.#weight -= this.#weigh(event);
        if (wasFull && !this.full) {
          this.#fullSince = undefined;
          this.#onRoom();
        }
        return event;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (let event = await this.next(); event !== undefined; event = await this.next()) yield event;
  }
}
