/** Finds stop strings in text that arrives in pieces, without ever releasing part of one. */
import { LinnetError } from '../errors.ts';
import { requireTexts } from '../files/arguments.ts';

/** The outcome of one piece of text. */
export interface StopStringResult {
  /** Text certain to precede any stop string. */
  readonly text: string;
  /** The stop string found, if any. It ends the stream: later text is dropped. */
  readonly match?: string;
}

/**
 * Watches a text stream for stop strings. The match is the one that ends first in the stream; of several ending at the same
 * place, the longest. How the text is cut into pieces makes no difference.
 */
export class StopStringMatcher {
  readonly #stops: readonly string[];
  #held = '';
  #match: string | undefined;

  /** @throws LinnetError `INPUT` for an empty stop string, and for anything but strings */
  constructor(stops: readonly string[]) {
    requireTexts(stops, 'stop strings');
    if (stops.includes('')) throw new LinnetError('INPUT', 'a stop string is empty; give at least one character');
    this.#stops = [...stops];
  }

  /** Adds a piece of text. After a match it returns no more text. */
  push(piece: string): StopStringResult {
    if (this.#match !== undefined) return { text: '', match: this.#match };
    const buffer = this.#held + piece;
    const found = this.#find(buffer);
    if (found !== undefined) {
      this.#held = '';
      this.#match = found.stop;
      return { text: buffer.slice(0, found.start), match: found.stop };
    }
    const certain = buffer.length - this.#partialLength(buffer);
    this.#held = buffer.slice(certain);
    return { text: buffer.slice(0, certain) };
  }

  /** Ends the stream: the text held back is ordinary text after all. */
  flush(): string {
    const text = this.#held;
    this.#held = '';
    return text;
  }

  #find(buffer: string): { stop: string; start: number } | undefined {
    let best: { stop: string; start: number; end: number } | undefined;
    for (const stop of this.#stops) {
      const start = buffer.indexOf(stop);
      if (start < 0) continue;
      const end = start + stop.length;
      if (best === undefined || end < best.end || (end === best.end && start < best.start)) best = { stop, start, end };
    }
    return best;
  }

  /** Length of the longest suffix of `buffer` that begins a stop string. */
  #partialLength(buffer: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, buffer.length); length > longest; length--) {
        if (stop.startsWith(buffer.slice(buffer.length - length))) longest = length;
      }
    }
    return longest;
  }
}
