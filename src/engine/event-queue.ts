/** Events of a job that wait for its reader, and how far the reader is behind. */
import type { TextEvent } from './text-job.ts';

export class EventQueue {
  /** Whether the reader has fallen behind: no more events should come for now. */
  isFull = false;
  readonly #events: TextEvent[] = [];
  readonly #most: number;
  readonly #onChange: (isFull: boolean) => void;
  #bytes = 0;
  #isOver = false;
  #fullSince = 0;
  /** When the reader last took an event, or had none to take. */
  #takenAt = 0;

  /**
   * @param most bytes of events beyond which the reader is behind
   * @param onChange called when the reader falls behind, and when it has caught up
   */
  constructor(most: number, onChange: (isFull: boolean) => void) {
    this.#most = most;
    this.#onChange = onChange;
  }

  push(event: TextEvent): void {
    if (this.#isOver) return;
    if (this.#events.length === 0) this.#takenAt = performance.now();
    this.#events.push(event);
    this.#bytes += bytesOf(event);
    if (this.#bytes >= this.#most) this.#setFull(true);
  }

  /** The next event; undefined where none waits. */
  shift(): TextEvent | undefined {
    const event = this.#events.shift();
    if (event === undefined) return undefined;
    this.#takenAt = performance.now();
    this.#bytes -= bytesOf(event);
    if (this.#bytes < this.#most) this.#setFull(false);
    return event;
  }

  /** Takes no more events. */
  end(): void {
    this.#isOver = true;
    this.#setFull(false);
  }

  /**
   * Milliseconds after which the reader is given up, if it takes nothing.
   * @param full milliseconds that it has while it is behind
   * @param unread milliseconds that it has while any event waits
   */
  patience(full: number, unread: number): number {
    const left = this.isFull ? full - (performance.now() - this.#fullSince) : Infinity;
    return this.#events.length > 0 ? Math.min(left, unread - this.unreadFor) : left;
  }

  /** Milliseconds since the reader last took an event of those that wait; 0 where none wait. */
  get unreadFor(): number {
    return this.#events.length === 0 ? 0 : performance.now() - this.#takenAt;
  }

  #setFull(isFull: boolean): void {
    if (this.isFull === isFull) return;
    this.isFull = isFull;
    if (isFull) this.#fullSince = performance.now();
    this.#onChange(isFull);
  }
}

/** Approximate bytes of a waiting event. */
function bytesOf(event: TextEvent): number {
  return 64 + (event.type === 'tokens' ? 2 * event.text.length + 8 * event.tokens.length : 0);
}
