/** The worker program that `worker.ts` starts: holds one session. Unlike other modules it acts on loading. */
import { internalError } from '../errors.ts';
import { openSession } from './engine.ts';
import { KeptCopies } from './kept-memory.ts';
import { handOverTensors, memoryOf, receivedFeeds, type WorkerResult, type WorkerTask } from './messages.ts';
import type { EngineSession } from './session-types.ts';
import { answerRequests } from './worker-thread.ts';

let session: EngineSession | undefined;
const copies = new KeptCopies();

answerRequests(async (task: WorkerTask, handover): Promise<WorkerResult | undefined> => {
  if (task.kind === 'open') {
    session = await openSession(task.model, task.settings);
    return undefined;
  }
  if (session === undefined) throw internalError(`${task.kind} before a session is open`);
  if (task.kind !== 'run') {
    await session[task.kind]();
    return undefined;
  }
  const tensors = handOverTensors(await session.run(receivedFeeds(task.feeds, copies), task.fetch), handover);
  // Nothing reads the feeds anymore.
  const spent = memoryOf(task.feeds.sent).filter((buffer) => !handover.has(buffer));
  for (const buffer of spent) handover.add(buffer);
  return { tensors, spent };
});
