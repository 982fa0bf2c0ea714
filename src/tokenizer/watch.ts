/** Running steps of a tokenizer.json, with a time limit where its patterns need one. */
import { LinnetError } from '../errors.ts';
import type { UnfamiliarPatterns } from './components.ts';

/** Runs work with a limit in milliseconds. @throws an error named `TimeLimitError` beyond it */
export type WorkLimit = <T>(work: () => T, milliseconds: number) => T;

/** Milliseconds allowed for an empty text, and per character or token: a hundred times the usual ones. */
const patience = { start: 10_000, each: 1 };

/** Runs a step of a tokenizer.json over `size` characters or tokens. @throws LinnetError `FORMAT` for any failure */
export type Watch = <T>(what: keyof UnfamiliarPatterns, size: number, work: () => T) => T;

export function watchOf(limit: WorkLimit | undefined, unfamiliar: UnfamiliarPatterns, origin: string): Watch {
  return (what, size, work) => {
    try {
      if (limit === undefined || !unfamiliar[what]) return work();
      return limit(work, patience.start + size * patience.each);
    } catch (cause) {
      const isEndless = cause instanceof Error && cause.name === 'TimeLimitError';
      const reason = isEndless ? 'a pattern of it takes without end' : String(cause);
      throw new LinnetError('FORMAT', `${origin} cannot be run: ${reason}`, { cause });
    }
  };
}
