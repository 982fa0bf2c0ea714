/**
 * Ending synchronous work that takes too long, such as a pattern of a hostile file that backtracks without end. The engine of
 * JavaScript looks for such an end while it matches, when the work runs as a script with a time limit. In Node only.
 */
import { Script, createContext } from 'node:vm';
import type { WorkLimit } from './hugging-face.ts';

/** The work did not end in its time. */
export class TimeLimitError extends Error {
  override readonly name = 'TimeLimitError';
}

/** A limit that can be used again and again; one use costs about a quarter of a millisecond. */
export function timeLimit(): WorkLimit {
  const scope: { work?: () => void } = {};
  const context = createContext(scope);
  const script = new Script('work()');
  return (work, milliseconds) => {
    const results: ReturnType<typeof work>[] = [];
    scope.work = () => {
      results.push(work());
    };
    try {
      script.runInContext(context, { timeout: milliseconds });
    } catch (error) {
      if (!isTimeout(error)) throw error;
      throw new TimeLimitError(`not done after ${milliseconds} ms`, { cause: error });
    } finally {
      scope.work = undefined;
    }
    return results[0];
  };
}

/** The error is not always one of this module's own realm, so that it cannot be told by its class. */
function isTimeout(error: unknown): boolean {
  return (
    typeof error === 'object' && error !== null && 'code' in error && error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
  );
}
