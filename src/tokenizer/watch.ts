/** Runs the steps of a tokenizer.json, with a time limit where its patterns need one, and reports failures as the file's. */
import { LinnetError } from '../errors.ts';
import type { UnfamiliarPatterns } from './components.ts';

/** Runs work with a limit in milliseconds. @throws an error named `TimeLimitError` beyond it */
export type WorkLimit = <T>(work: () => T, milliseconds: number) => T;

/** Milliseconds allowed for an empty text, and per character or token: a hundred times the usual ones. */
const patience = { start: 10_000, each: 1 };

/** Runs the steps of one tokenizer.json. */
export class Watch {
  readonly #limit: WorkLimit | undefined;
  readonly #unfamiliar: UnfamiliarPatterns;
  readonly #origin: string;

  constructor(limit: WorkLimit | undefined, unfamiliar: UnfamiliarPatterns, origin: string) {
    this.#limit = limit;
    this.#unfamiliar = unfamiliar;
    this.#origin = origin;
  }

  /** @param size characters or tokens that are worked on */
  run<T>(what: keyof UnfamiliarPatterns, size: number, work: () => T): T {
    try {
      if (this.#limit === undefined || !this.#unfamiliar[what]) return work();
      return this.#limit(work, patience.start + size * patience.each);
    } catch (cause) {
      const reason =
        cause instanceof Error && cause.name === 'TimeLimitError' ? 'a pattern of it takes without end' : String(cause);
      throw new LinnetError('FORMAT', `${this.#origin} cannot be run: ${reason}`, { cause });
    }
  }
}
