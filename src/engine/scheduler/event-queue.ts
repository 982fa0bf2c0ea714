/** A bounded queue of events for one reader: a slow reader pauses its text instead of filling memory. */

/** A queue whose owner watches `full`: pushing never waits, and is to stop when the queue is full. */
export class EventQueue<T> {
  readonly #limit: number;
  readonly #weigh: (event: T) => number;
  readonly #onChange: (full: boolean) => void;
  readonly #events: T[] = [];
  #weight = 0;
  #ended = false;
  #failure: Error | undefined;
  #fullSince: number | undefined;
  /** When the reader last took an event, or had none to take. */
  #takenAt = 0;

  /**
   * @param limit weight from which the queue is full
   * @param weigh bytes that an event stands for
   * @param onChange called when the queue becomes full, and when it has room again
   */
  constructor(limit: number, weigh: (event: T) => number, onChange: (full: boolean) => void) {
    this.#limit = limit;
    this.#weigh = weigh;
    this.#onChange = onChange;
  }

  /** Whether nothing more should be pushed for now. */
  get full(): boolean {
    return this.#fullSince !== undefined;
  }

  /** Milliseconds that the queue has been full; 0 while it is not. */
  get fullFor(): number {
    return this.#fullSince === undefined ? 0 : performance.now() - this.#fullSince;
  }

  /** Milliseconds since the reader last took an event of those that wait; 0 where none wait. */
  get unreadFor(): number {
    return this.#events.length === 0 ? 0 : performance.now() - this.#takenAt;
  }

  /** Whether no events come any more. */
  get ended(): boolean {
    return this.#ended;
  }

  push(event: T): void {
    if (this.#ended) return;
    if (this.#events.length === 0) this.#takenAt = performance.now();
    this.#events.push(event);
    this.#weight += this.#weigh(event);
    if (this.#weight < this.#limit || this.full) return;
    this.#fullSince = performance.now();
    this.#onChange(true);
  }

  /** No more events; the reader gets those that wait, then the end, or the failure. */
  end(failure?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    if (failure !== undefined)
      this.#failure = failure instanceof Error ? failure : new Error('the request failed', { cause: failure });
  }

  /** The next event; undefined where none waits. @throws the error that ended the queue, after the last event */
  shift(): T | undefined {
    const event = this.#events.shift();
    if (event === undefined) {
      if (this.#failure !== undefined) throw this.#failure;
      return undefined;
    }
    this.#takenAt = performance.now();
    this.#weight -= this.#weigh(event);
    if (this.full && this.#weight < this.#limit) {
      this.#fullSince = undefined;
      this.#onChange(false);
    }
    return event;
  }
}
