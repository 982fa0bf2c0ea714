/** What a refusal says to machines, for tests. */
import { expect } from 'vitest';
import { LinnetError } from '../src/errors.ts';

/** Matches an error of a code whose message has a part, for `toThrow` and `toEqual`. */
export function refusal(code: string, part: string): unknown {
  const message: unknown = expect.stringContaining(part);
  return expect.objectContaining({ code, message });
}

/** The code of the LinnetError that an action ends with; any other error in words, undefined for none. */
export async function errorCode(action: () => unknown): Promise<string | undefined> {
  try {
    await action();
  } catch (error) {
    return error instanceof LinnetError ? error.code : `not ours: ${String(error)}`;
  }
  return undefined;
}
