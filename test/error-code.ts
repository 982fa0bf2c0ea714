/** What a refusal says to machines, for tests. */
import { LinnetError } from '../src/errors.ts';

/** The code of the LinnetError that an action ends with; any other error in words, undefined for none. */
export async function errorCode(action: () => unknown): Promise<string | undefined> {
  try {
    await action();
  } catch (error) {
    return error instanceof LinnetError ? error.code : `not ours: ${String(error)}`;
  }
  return undefined;
}
