/** Work whose record is closed whatever becomes of it. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { LinnetError } from '../errors.ts';
import { openRun, type Run, type RunDescription } from './record.ts';

/**
 * Does work next to the record in `folder`, which is taken up where it is there already: for work that finds by itself where
 * it was. The record says `finished`, or `interrupted` for an error with the code `ABORTED`, or `failed`.
 * @param start begins the record and returns it; work that is refused before leaves none
 * @throws what `work` throws
 */
export async function recordedWork<T>(
  folder: string,
  description: RunDescription,
  work: (start: () => Promise<Run>) => Promise<T>,
): Promise<T> {
  let run: Run | undefined;
  const start = async (): Promise<Run> => {
    run ??= await openRun(folder, description, { resume: existsSync(join(folder, 'run.json')) });
    return run;
  };
  try {
    const result = await work(start);
    await run?.finish('finished');
    return result;
  } catch (error) {
    const isStopped = error instanceof LinnetError && error.code === 'ABORTED';
    await run?.finish(isStopped ? 'interrupted' : 'failed', error);
    throw error;
  }
}
