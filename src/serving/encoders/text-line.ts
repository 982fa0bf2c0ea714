/** The line in which texts wait for a model that reads one at a time. */
import { LinnetError, OverloadError } from '../../errors.ts';

/** A bounded queue of requests whose texts take turns. */
export class TextLine {
  /** Requests whose texts may be in the line at a time. */
  readonly most: number;
  readonly #requests = new Set<Promise<unknown>>();
  #last: Promise<unknown> = Promise.resolve();
  #closing = false;

  /** @param most requests in the line; more are refused */
  constructor(most: number) {
    this.most = most;
  }

  get requests(): number {
    return this.#requests.size;
  }

  /**
   * Does the work of a request, which asks for a turn with each of its texts.
   * @throws OverloadError if the queue is full or closed
   */
  async enter<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing) throw new OverloadError('closing');
    if (this.requests >= this.most) throw new OverloadError('full');
    const request = work();
    this.#requests.add(request);
    try {
      return await request;
    } finally {
      this.#requests.delete(request);
    }
  }

  /** A turn of the model. @throws LinnetError `ABORTED` if the signal fires before the turn comes */
  turn<T>(run: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const turn = this.#last.then(() => {
      if (signal.aborted) throw new LinnetError('ABORTED', 'the request was cancelled');
      return run();
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /** Stops accepting requests, and resolves when the running ones have ended. */
  async close(): Promise<void> {
    this.#closing = true;
    await Promise.allSettled(this.#requests);
  }
}
