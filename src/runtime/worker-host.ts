/**
 * Entry of the worker that `worker.ts` starts: holds one session and answers one request after the other. This is a
 * program of its own, so unlike other modules it acts when it is loaded.
 */
import { parentPort } from 'node:worker_threads';
import { internalError } from '../errors.ts';
import { openSession } from './engine.ts';
import { KeptCopies } from './kept-memory.ts';
import type { EngineSession } from './session-types.ts';
import {
  describeError,
  handOverTensors,
  memoryOf,
  receivedFeeds,
  type TensorMessages,
  type WorkerReply,
  type WorkerRequest,
  type WorkerTask,
} from './messages.ts';

class Host {
  #session: EngineSession | undefined;
  readonly #copies = new KeptCopies();

  async perform(task: WorkerTask, handover: Set<ArrayBuffer>): Promise<TensorMessages | undefined> {
    if (task.kind === 'open') {
      this.#session = await openSession(task.model, task.settings);
      return undefined;
    }
    const session = this.#session;
    if (session === undefined) throw internalError(`${task.kind} before a session is open`);
    if (task.kind === 'run') {
      return handOverTensors(await session.run(receivedFeeds(task.feeds, this.#copies), task.fetch), handover);
    }
    await session[task.kind]();
    return undefined;
  }

  async answer({ id, task }: WorkerRequest): Promise<{ reply: WorkerReply; handover: Set<ArrayBuffer> }> {
    const handover = new Set<ArrayBuffer>();
    try {
      const results = await this.perform(task, handover);
      // Nothing reads the feeds any more.
      const spent = task.kind === 'run' ? memoryOf(task.feeds.sent).filter((buffer) => !handover.has(buffer)) : [];
      for (const buffer of spent) handover.add(buffer);
      return { reply: { id, results, spent }, handover };
    } catch (error) {
      return { reply: { id, error: describeError(error) }, handover: new Set() };
    }
  }
}

const port = parentPort;
if (port === null) throw internalError('worker-host runs in a worker thread only');
const host = new Host();
let last: Promise<void> = Promise.resolve();
port.on('message', (request: WorkerRequest) => {
  last = last.then(async () => {
    const { reply, handover } = await host.answer(request);
    port.postMessage(reply, [...handover]);
  });
});
