/**
 * Prompts that are read in one step: short ones share it, as far as they take no more room than one chunk of a long one.
 * Sixteen that come together are then read in about the time of one or two.
 */
import type { StepEngine, StepRequest } from '../../decoding/step-engine.ts';
import type { RunningRequest } from './running-request.ts';

/** A chunk of a prompt that a step reads. */
interface SharedChunk {
  readonly running: RunningRequest;
  readonly request: StepRequest;
}

/**
 * Which of the requests read together, as many from the first on as fit.
 * @param waiting requests whose prompts are unread, in the order of their turns; not empty
 * @param most tokens of a step, padding included: all trees of a step are as large as the largest
 */
export function sharingRequests(waiting: readonly RunningRequest[], most: number): RunningRequest[] {
  const [first, ...others] = waiting;
  const sharing = [first];
  let longest = first.planChunk(most)?.tokens.length ?? most;
  for (const running of others) {
    const length = running.planChunk(most)?.tokens.length;
    if (length === undefined || (sharing.length + 1) * Math.max(longest, length) > most) continue;
    sharing.push(running);
    longest = Math.max(longest, length);
  }
  return sharing;
}

/**
 * Reads the next chunk of each request. A fault stays with the request that it belongs to.
 * @returns per request, in order, how many tokens were read, or why it cannot go on
 */
export async function readChunks(
  engine: StepEngine,
  sharing: readonly RunningRequest[],
  most: number,
): Promise<PromiseSettledResult<number>[]> {
  const chunks = sharing.flatMap((running): SharedChunk[] => {
    const request = running.planChunk(most);
    return request === undefined ? [] : [{ running, request }];
  });
  return chunks.length > 1 && chunks.length === sharing.length
    ? readTogether(engine, chunks, most)
    : readInTurn(sharing, most);
}

async function readTogether(
  engine: StepEngine,
  chunks: readonly SharedChunk[],
  most: number,
): Promise<PromiseSettledResult<number>[]> {
  const started = performance.now();
  try {
    const outputs = await engine.step(
      chunks.map(({ request }) => request),
      'prompt',
    );
    const seconds = (performance.now() - started) / 1000;
    return await Promise.allSettled(
      chunks.map(async ({ running, request }, index) => {
        const nodes = Array.from(request.tokens, (_, node) => node);
        await engine.commit(request, outputs[index], nodes);
        running.tookChunk(seconds);
        return nodes.length;
      }),
    );
  } catch {
    // The step has changed no state: each by itself, so that one fault is not everybody's.
    return readInTurn(
      chunks.map(({ running }) => running),
      most,
    );
  }
}

async function readInTurn(sharing: readonly RunningRequest[], most: number): Promise<PromiseSettledResult<number>[]> {
  const results: PromiseSettledResult<number>[] = [];
  for (const running of sharing) results.push(...(await Promise.allSettled([running.readChunk(most)])));
  return results;
}
