/** A session in a worker thread: the calling thread stays free while the engine computes. */
import { Worker } from 'node:worker_threads';
import { internalError, LinnetError } from '../errors.ts';
import type { Tensor } from '../graph/tensor.ts';
import { type KeptFeeds, KeptSender } from './kept-memory.ts';
import {
  copyFeeds,
  copyModel,
  receivedTensors,
  restoreError,
  type TensorMessages,
  type WorkerReply,
  type WorkerRequest,
  type WorkerTask,
} from './messages.ts';
import type { EngineModel, EngineSession, EngineSettings, NamedTensors } from './session-types.ts';
import { disableTelemetry } from './telemetry.ts';

/** The host runs from where this file runs: from the built package, or from source where Node reads TypeScript. */
const hostFile = import.meta.url.endsWith('.ts') ? './worker-host.ts' : './worker-host.js';

/**
 * Starts a worker and opens a session in it.
 *
 * @param host the module that the worker runs; for tests
 * @throws LinnetError `RUNTIME` if the worker or the session cannot start.
 */
export async function openWorkerSession(
  model: EngineModel,
  settings: EngineSettings,
  host: URL = new URL(hostFile, import.meta.url),
): Promise<EngineSession> {
  disableTelemetry();
  const session = new WorkerSession(model.name, new Worker(host, { name: `linnet ${model.name}` }));
  try {
    await session.open(model, settings);
  } catch (error) {
    await session.terminate();
    throw error;
  }
  return session;
}

interface Pending {
  resolve(results: TensorMessages | undefined): void;
  reject(error: unknown): void;
}

class WorkerSession implements EngineSession {
  readonly copiesFeeds = true;
  readonly #name: string;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #nextId = 0;
  /** Memory of the last run's feeds, for the next run's. */
  #spare: ArrayBuffer[] = [];
  readonly #sender = new KeptSender();
  /** Why the worker cannot answer any more. */
  #failure: LinnetError | undefined;

  constructor(name: string, worker: Worker) {
    this.#name = name;
    this.#worker = worker;
    // An idle worker must not keep the process alive; `#ask` holds it while something is pending.
    worker.unref();
    worker.on('message', (reply: WorkerReply) => this.#settle(reply));
    worker.on('error', (error: unknown) => this.#fail('failed', error));
    worker.on('messageerror', (error: unknown) => this.#fail('sent an unreadable message', error));
    worker.on('exit', (code) => this.#fail(`ended with exit code ${code}`));
  }

  async open(model: EngineModel, settings: EngineSettings): Promise<void> {
    const handover = new Set<ArrayBuffer>();
    await this.#ask({ kind: 'open', model: copyModel(model, handover), settings }, handover);
  }

  async run<K extends string>(feeds: NamedTensors, fetch: readonly K[], kept?: KeptFeeds): Promise<Record<K, Tensor>> {
    if (this.#failure !== undefined) throw this.#failure;
    const handover = new Set<ArrayBuffer>();
    const messages = copyFeeds(feeds, handover, this.#spare, this.#sender, kept);
    const results = await this.#ask({ kind: 'run', feeds: messages, fetch }, handover);
    if (results === undefined) throw internalError('the worker answered a run without results');
    return receivedTensors(results);
  }

  async endProfiling(): Promise<void> {
    await this.#ask({ kind: 'endProfiling' });
  }

  async dispose(): Promise<void> {
    // A worker that is gone holds nothing.
    if (this.#failure === undefined) await this.#ask({ kind: 'dispose' });
    await this.terminate();
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }

  #ask(task: WorkerTask, handover: ReadonlySet<ArrayBuffer> = new Set()): Promise<TensorMessages | undefined> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const request: WorkerRequest = { id: this.#nextId++, task };
    return new Promise((resolve, reject) => {
      this.#worker.postMessage(request, [...handover]);
      this.#pending.set(request.id, { resolve, reject });
      this.#worker.ref();
    });
  }

  #settle(reply: WorkerReply): void {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) this.#worker.unref();
    if ('error' in reply) pending?.reject(restoreError(reply.error));
    else {
      if (reply.spent !== undefined) this.#spare = [...reply.spent];
      pending?.resolve(reply.results);
    }
  }

  /** @param cause whatever the worker threw, which need not be an error */
  #fail(what: string, cause?: unknown): void {
    const reason = cause === undefined ? '' : `: ${messageOf(cause)}`;
    this.#failure ??= new LinnetError('RUNTIME', `the worker of graph "${this.#name}" ${what}${reason}`, { cause });
    for (const pending of this.#pending.values()) pending.reject(this.#failure);
    this.#pending.clear();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
