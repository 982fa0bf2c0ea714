/** Running what a tokenizer.json brings: with a limit where its patterns need one, and with its failures reported as its own. */
import { LinnetError } from '../errors.ts';
import type { UnfamiliarPatterns } from './components.ts';

/** Runs work for at most so many milliseconds. @throws an error named `TimeLimitError` when they are over */
export type WorkLimit = <T>(work: () => T, milliseconds: number) => T;

/** What a text of no length may take, and what a character or token adds: a hundred times what either takes. */
const patience = { start: 10_000, each: 1 };

/** Runs what a tokenizer.json brings, with a limit where its patterns need one; failures are the file's. */
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
