/** A session in a worker thread: keeps the calling thread free while the engine computes. */
import { internalError } from '../errors.ts';
import type { Tensor } from '../graph/tensor.ts';
import { type KeptFeeds, KeptSender } from './kept-memory.ts';
import { copyFeeds, copyModel, type WorkerResult, type WorkerTask } from './messages.ts';
import type { EngineModel, EngineSession, EngineSettings, NamedTensors } from './session-types.ts';
import { disableTelemetry } from './telemetry.ts';
import { hostModule, WorkerThread } from './worker-thread.ts';

/**
 * Starts a worker and opens a session in it.
 *
 * @param host the module the worker runs; for tests
 * @throws LinnetError `RUNTIME` if the worker or the session cannot start.
 */
export async function openWorkerSession(
  model: EngineModel,
  settings: EngineSettings,
  host: URL = hostModule('worker-host', import.meta.url),
): Promise<EngineSession> {
  disableTelemetry();
  const thread = new WorkerThread<WorkerTask, WorkerResult>(`worker of graph "${model.name}"`, host);
  try {
    const handover = new Set<ArrayBuffer>();
    await thread.ask({ kind: 'open', model: copyModel(model, handover), settings }, handover);
  } catch (error) {
    await thread.terminate();
    throw error;
  }
  return new WorkerSession(thread);
}

class WorkerSession implements EngineSession {
  readonly copiesFeeds = true;
  readonly #thread: WorkerThread<WorkerTask, WorkerResult>;
  /** Memory of the last run's feeds, for the next run. */
  #spare: ArrayBuffer[] = [];
  readonly #sender = new KeptSender();

  constructor(thread: WorkerThread<WorkerTask, WorkerResult>) {
    this.#thread = thread;
  }

  async run<K extends string>(feeds: NamedTensors, fetch: readonly K[], kept?: KeptFeeds): Promise<Record<K, Tensor>> {
    if (this.#thread.failure !== undefined) throw this.#thread.failure;
    const handover = new Set<ArrayBuffer>();
    const messages = copyFeeds(feeds, handover, this.#spare, this.#sender, kept);
    const result = await this.#thread.ask({ kind: 'run', feeds: messages, fetch }, handover);
    if (result === undefined) throw internalError('the worker answered a run without results');
    this.#spare = [...result.spent];
    return result.tensors;
  }

  async endProfiling(): Promise<void> {
    await this.#thread.ask({ kind: 'endProfiling' });
  }

  async dispose(): Promise<void> {
    // A dead worker holds nothing.
    if (this.#thread.failure === undefined) await this.#thread.ask({ kind: 'dispose' });
    await this.#thread.terminate();
  }
}
