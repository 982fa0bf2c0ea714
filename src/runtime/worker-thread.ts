/** Threads that answer requests; each reply repeats its request's id. For Node. */
import { parentPort, Worker } from 'node:worker_threads';
import { type ErrorCode, internalError, LinnetError, reasonOf } from '../errors.ts';

/** Buffers that a message transfers. */
export type Handover = Set<ArrayBuffer>;

interface ErrorMessage {
  readonly code: ErrorCode;
  readonly message: string;
  /** Text of the error's cause, which may not be clonable itself. */
  readonly cause?: string;
}

type Reply<Result> =
  | { readonly id: number; readonly result?: Result }
  | { readonly id: number; readonly error: ErrorMessage };

interface Pending<Result> {
  resolve(result: Result | undefined): void;
  reject(error: unknown): void;
}

/** A thread that answers requests of one kind in order of arrival. It does not keep the process alive while idle. */
export class WorkerThread<Task, Result> {
  readonly #label: string;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending<Result>>();
  #nextId = 0;
  /** Why the worker can no longer answer. */
  failure: LinnetError | undefined;

  /**
   * @param label names it in errors: `worker of graph "step"`
   * @param host the module the thread runs, which calls `answerRequests`
   */
  constructor(label: string, host: URL) {
    this.#label = label;
    const worker = new Worker(host, { name: `linnet ${label}` });
    this.#worker = worker;
    worker.unref();
    worker.on('message', (reply: Reply<Result>) => this.#settle(reply));
    worker.on('error', (error: unknown) => this.#fail('failed', error));
    worker.on('messageerror', (error: unknown) => this.#fail('sent an unreadable message', error));
    worker.on('exit', (code) => this.#fail(`ended with exit code ${code}`));
  }

  /** @throws LinnetError the host's, or `RUNTIME` for a thread that died */
  ask(task: Task, handover: Iterable<ArrayBuffer> = []): Promise<Result | undefined> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#worker.postMessage({ id, task }, [...handover]);
      this.#pending.set(id, { resolve, reject });
      this.#worker.ref();
    });
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }

  #settle(reply: Reply<Result>): void {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) this.#worker.unref();
    if (!('error' in reply)) return pending?.resolve(reply.result);
    const { code, message, cause } = reply.error;
    pending?.reject(new LinnetError(code, message, { cause }));
  }

  /** @param cause anything the worker threw, not necessarily an error */
  #fail(what: string, cause?: unknown): void {
    const reason = cause === undefined ? '' : `: ${reasonOf(cause)}`;
    this.failure ??= new LinnetError('RUNTIME', `the ${this.#label} ${what}${reason}`, { cause });
    for (const pending of this.#pending.values()) pending.reject(this.failure);
    this.#pending.clear();
  }
}

/** The module a thread runs, next to its caller: built, or source if Node reads TypeScript. */
export function hostModule(name: string, caller: string): URL {
  return new URL(`./${name}.${caller.endsWith('.ts') ? 'ts' : 'js'}`, caller);
}

/**
 * In a worker thread: answers its requests, one after the other.
 * @param perform buffers that it adds to `handover` are transferred with the result
 */
export function answerRequests(perform: (task: never, handover: Handover) => Promise<unknown>): void {
  const port = parentPort;
  if (port === null) throw internalError('requests are answered in a worker thread only');
  let last: Promise<void> = Promise.resolve();
  port.on('message', ({ id, task }: { readonly id: number; readonly task: never }) => {
    last = last.then(async () => {
      const handover: Handover = new Set();
      try {
        const result = await perform(task, handover);
        port.postMessage({ id, result }, [...handover]);
      } catch (error) {
        port.postMessage({ id, error: describeError(error) });
      }
    });
  });
}

function describeError(error: unknown): ErrorMessage {
  if (!(error instanceof LinnetError)) return { code: 'INTERNAL', message: `internal: ${String(error)}` };
  const cause = error.cause instanceof Error ? error.cause.message : undefined;
  return { code: error.code, message: error.message, cause };
}
