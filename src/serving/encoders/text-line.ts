/** The line in which texts wait for a model that reads one at a time. */
import { LinnetError, OverloadError } from '../../errors.ts';

/** Requests stand in a bounded line; the texts of those in it take turns. */
export class TextLine {
  /** Requests whose texts may be in the line at a time. */
  readonly most: number;
  #requests = 0;
  #last: Promise<unknown> = Promise.resolve();
  #closing = false;
  /** Resolves when a line that is closed is empty. */
  #empty: Promise<void> | undefined;
  #onEmpty: (() => void) | undefined;

  /** @param most requests in the line; more are refused */
  constructor(most: number) {
    this.most = most;
  }

  get requests(): number {
    return this.#requests;
  }

  /**
   * Does the work of a request, which asks for a turn with each of its texts.
   * @throws OverloadError where the line is full, or closed
   */
  async enter<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing) throw new OverloadError('closing');
    if (this.#requests >= this.most) throw new OverloadError('full');
    this.#requests++;
    try {
      return await work();
    } finally {
      this.#requests--;
      if (this.#requests === 0) this.#onEmpty?.();
    }
  }

  /** A turn of the model. @throws LinnetError `ABORTED` where the signal has fired before the turn comes */
  turn<T>(run: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const turn = this.#last.then(() => {
      if (signal.aborted) throw new LinnetError('ABORTED', 'the request was cancelled');
      return run();
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /** Takes no more requests, and resolves when those there are have ended. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#empty ??= new Promise((resolve) => {
      this.#onEmpty = resolve;
    });
    if (this.#requests > 0) await this.#empty;
  }
}
