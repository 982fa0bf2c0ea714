/**
 * Prompts that are read in one step: short ones share it, as far as they take no more room than one chunk of a long one.
 * Sixteen that come together are then read in about the time of one or two.
 */
import type { StepEngine, StepRequest } from '../../decoding/step-engine.ts';
import type { RunningJob } from '../running-job.ts';

/**
 * The jobs that read together: the first, and those after it that fit.
 * @param waiting jobs whose prompts are unread, in the order of their turns; not empty
 * @param most tokens of a step, padding included: all trees of a step are as large as the largest
 */
export function sharingJobs(waiting: readonly RunningJob[], most: number): RunningJob[] {
  const [first, ...others] = waiting;
  const sharing = [first];
  let longest = first.chunkLength(most);
  for (const running of others) {
    const length = running.chunkLength(most);
    if ((sharing.length + 1) * Math.max(longest, length) > most) continue;
    sharing.push(running);
    longest = Math.max(longest, length);
  }
  return sharing;
}

/**
 * Reads the next chunk of each job. A fault stays with the job that it belongs to.
 * @returns per job, in order, how many tokens were read, or why it cannot go on
 */
export async function readChunks(
  engine: StepEngine,
  sharing: readonly RunningJob[],
  most: number,
): Promise<PromiseSettledResult<number>[]> {
  const requests = sharing.map((running) => running.planChunk(most));
  try {
    return await readTogether(engine, sharing, requests);
  } catch (reason) {
    if (sharing.length === 1) return [{ status: 'rejected', reason }];
    // The step has changed no state: each by itself, so that one fault is not everybody's.
    const results: PromiseSettledResult<number>[] = [];
    for (const [index, running] of sharing.entries()) {
      const [result] = await Promise.allSettled([readTogether(engine, [running], [requests[index]])]);
      results.push(...(result.status === 'rejected' ? [result] : result.value));
    }
    return results;
  }
}

/** @throws where the common step fails, which has changed no state then */
async function readTogether(
  engine: StepEngine,
  sharing: readonly RunningJob[],
  requests: readonly StepRequest[],
): Promise<PromiseSettledResult<number>[]> {
  const started = performance.now();
  const outputs = await engine.step(requests, 'prompt');
  return Promise.allSettled(
    sharing.map(async (running, index) => {
      const nodes = Array.from(requests[index].tokens, (_, node) => node);
      await engine.commit(requests[index], outputs[index], nodes);
      running.tookChunk(outputs[index], (performance.now() - started) / 1000);
      return nodes.length;
    }),
  );
}
