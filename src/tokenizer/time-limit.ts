/**
 * Ends synchronous work that takes too long, such as a hostile file's pattern that backtracks without end. When the work runs
 * as a script with a time limit, JavaScript's engine checks the limit while it matches. In Node only.
 */
import { Script, createContext } from 'node:vm';
import type { WorkLimit } from './hugging-face.ts';

/** The work exceeded its time limit. */
export class TimeLimitError extends Error {
  override readonly name = 'TimeLimitError';
}

/** A reusable limit; one use costs about a quarter of a millisecond. */
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

/** The error may come from another realm, so its class cannot identify it. */
function isTimeout(error: unknown): boolean {
  return (
    typeof error === 'object' && error !== null && 'code' in error && error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
  );
}
